-- What goes with a turn beside its records: events, entity locks, dead letters, messages, other sagas.

-- Appends turns of which some publish events, all in one batch. `p_place` tells for each event which turn
-- it belongs to, counted from one. Answers as `append` does.
CREATE FUNCTION {schema}.append_with_events(
    p_epoch bigint, p_saga uuid[], p_seq integer[], p_nonce bigint[], p_ends smallint[], p_body text[],
    p_parked uuid[], p_parked_due bigint[], p_parked_standing smallint[],
    p_place integer[], p_nth integer[], p_event text[], p_topic text[], p_headers text[], p_payload text[]
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_answers smallint[];
BEGIN
    v_answers := {schema}.append(
        p_epoch, p_saga, p_seq, p_nonce, p_ends, p_body, p_parked, p_parked_due, p_parked_standing);
    INSERT INTO {schema}.outbox (saga_id, seq, nth, event_id, topic, headers, payload, epoch, at, due_at)
    SELECT t.saga_id, t.seq, e.nth, e.event, e.topic, e.headers, e.payload, p_epoch, t.at, t.at
    FROM unnest(p_place, p_nth, p_event, p_topic, p_headers, p_payload) AS e(place, nth, event, topic, headers, payload)
    JOIN {schema}.turn t ON t.saga_id = p_saga[e.place] AND t.seq = p_seq[e.place]
    -- No answers at all say that everything was written.
    WHERE cardinality(v_answers) = 0 OR v_answers[e.place] = 0
    ON CONFLICT DO NOTHING;
    RETURN v_answers;
END $$;

-- Gives locks to those who are first in all their lines, among those who stand in one of these. The caller
-- holds the lock manager's lock.
CREATE FUNCTION {schema}.grant_locks(p_key text[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_saga uuid;
    v_token bigint;
BEGIN
    FOR v_saga IN
        SELECT k.saga_id FROM {schema}.lock k WHERE k.key = ANY (p_key) AND k.token IS NULL
        GROUP BY k.saga_id ORDER BY k.saga_id
    LOOP
        PERFORM 1 FROM {schema}.lock own JOIN {schema}.lock ahead ON ahead.key = own.key AND ahead.arrival < own.arrival
        WHERE own.saga_id = v_saga LIMIT 1;
        IF NOT FOUND THEN
            v_token := nextval('{schema}.lock_token');
            UPDATE {schema}.lock k SET token = v_token WHERE k.saga_id = v_saga;
            -- Waits for a turn that is about to park the saga; one that parks it later sees the grant.
            PERFORM 1 FROM {schema}.live l WHERE l.saga_id = v_saga FOR UPDATE;
            UPDATE {schema}.live l SET due_at = clock_timestamp()
            WHERE l.saga_id = v_saga AND l.owner IS NULL AND l.standing <> 4;
        END IF;
    END LOOP;
END $$;

-- A saga asks for entities (keys given), or gives up all that it has (none given). Whoever changes the
-- lines holds one lock until its commit: so no two see different lines.
CREATE FUNCTION {schema}.change_locks(p_saga uuid, p_step text, p_key text[], p_at timestamptz) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_key text[] := p_key;
    v_arrival bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.lock', 0));
    IF p_key IS NULL THEN
        WITH gone AS (DELETE FROM {schema}.lock k WHERE k.saga_id = p_saga RETURNING k.key)
        SELECT array_agg(gone.key) INTO v_key FROM gone;
    ELSE
        PERFORM 1 FROM {schema}.lock k WHERE k.saga_id = p_saga LIMIT 1;
        IF FOUND THEN
            RETURN;
        END IF;
        v_arrival := nextval('{schema}.lock_arrival');
        INSERT INTO {schema}.lock (key, saga_id, step, arrival, asked_at)
        SELECT k.key, p_saga, p_step, v_arrival, p_at FROM unnest(p_key) AS k(key);
    END IF;
    IF v_key IS NOT NULL THEN
        PERFORM {schema}.grant_locks(v_key);
    END IF;
END $$;

-- Appends one turn with all that goes with it. `p_effects` holds lists: letters, read, starts, sends; and
-- locks, an object with step and keys, or with neither when the saga gives up what it has.
CREATE FUNCTION {schema}.append_with_effects(
    p_epoch bigint, p_saga uuid, p_seq integer, p_nonce bigint, p_ends smallint, p_body text,
    p_parked boolean, p_due bigint, p_standing smallint,
    p_nth integer[], p_event text[], p_topic text[], p_headers text[], p_payload text[],
    p_effects json
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_answer smallint[];
    v_now timestamptz;
    v_read text[];
    v record;
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    -- The saga, and those that it tells something, in one order: two that tell each other do not deadlock.
    PERFORM 1 FROM {schema}.live l WHERE l.saga_id IN (
        SELECT p_saga UNION ALL
        SELECT s.saga_id FROM json_to_recordset(p_effects -> 'sends') AS m(definition text, key text)
        JOIN {schema}.saga s ON s.definition = m.definition AND s.key = m.key)
    ORDER BY l.saga_id FOR UPDATE;
    SELECT coalesce(array_agg(r.value), '{}') INTO v_read FROM json_array_elements_text(p_effects -> 'read') AS r(value);
    IF cardinality(v_read) > 0 THEN
        -- Before the turn, which may end the saga; and only when the turn is going to be written.
        PERFORM 1 FROM {schema}.live l JOIN {schema}.turn last ON last.saga_id = l.saga_id AND last.seq = p_seq - 1
        WHERE l.saga_id = p_saga AND l.owner = p_epoch
            AND NOT EXISTS (SELECT 1 FROM {schema}.turn t WHERE t.saga_id = p_saga AND t.seq = p_seq);
        IF FOUND THEN
            UPDATE {schema}.message m SET read_seq = p_seq FROM {schema}.saga s
            WHERE s.saga_id = p_saga AND m.definition = s.definition AND m.key = s.key
                AND m.message_id = ANY (v_read) AND m.read_seq IS NULL;
            UPDATE {schema}.lock k SET read_seq = p_seq
            WHERE k.saga_id = p_saga AND k.token IS NOT NULL AND ('lock:' || k.step) = ANY (v_read);
        END IF;
    END IF;
    v_answer := {schema}.append_with_events(
        p_epoch, ARRAY[p_saga], ARRAY[p_seq], ARRAY[p_nonce], ARRAY[p_ends], ARRAY[p_body],
        CASE WHEN p_parked THEN ARRAY[p_saga] ELSE '{}' END, ARRAY[p_due], ARRAY[p_standing],
        array_fill(1, ARRAY[cardinality(p_nth)]), p_nth, p_event, p_topic, p_headers, p_payload);
    IF cardinality(v_answer) > 0 THEN
        RETURN v_answer;
    END IF;
    SELECT t.at INTO v_now FROM {schema}.turn t WHERE t.saga_id = p_saga AND t.seq = p_seq;
    FOR v IN
        SELECT * FROM json_to_recordset(p_effects -> 'letters')
            AS l(open boolean, step text, op text, reason text, text text, attempts integer, actor text)
    LOOP
        IF v.open THEN
            INSERT INTO {schema}.dead_letter (saga_id, step, op, seq, reason, error, attempts, opened_at)
            VALUES (p_saga, v.step, v.op, p_seq, v.reason, v.text, v.attempts, v_now)
            ON CONFLICT DO NOTHING;
        ELSE
            UPDATE {schema}.dead_letter d
            SET closed_at = v_now, closed_by = v.actor, resolution = v.reason, close_reason = v.text
            WHERE d.saga_id = p_saga AND d.step = v.step AND d.op = v.op AND d.closed_at IS NULL;
        END IF;
    END LOOP;
    FOR v IN
        SELECT * FROM json_to_recordset(p_effects -> 'starts')
            AS s(saga uuid, definition text, version integer, key text, input text, nonce bigint, body text)
        ORDER BY definition, key
    LOOP
        INSERT INTO {schema}.saga (saga_id, definition, version, key, input, created_at)
        VALUES (v.saga, v.definition, v.version, v.key, decode(v.input, 'hex'), v_now) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
            VALUES (v.saga, 0, NULL, v.nonce, v_now, v.body);
            INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
            VALUES (v.saga, v.definition, v.version, NULL, v_now);
        END IF;
    END LOOP;
    PERFORM {schema}.send(array_agg(m.definition), array_agg(m.key), array_agg(m.id), array_agg(m.body))
    FROM json_to_recordset(p_effects -> 'sends') AS m(definition text, key text, id text, body text)
    HAVING count(*) > 0;
    -- A saga that is over has left all lines already, and enters none.
    IF json_typeof(p_effects -> 'locks') = 'object' AND p_ends IS NULL THEN
        PERFORM {schema}.change_locks(p_saga, p_effects #>> '{locks,step}', (
            SELECT array_agg(k.value) FROM json_array_elements_text(p_effects #> '{locks,keys}') AS k(value)), v_now);
    END IF;
    RETURN v_answer;
END $$;

-- What the lease's worker is to publish now; the row without a saga tells when the next one is due.
CREATE FUNCTION {schema}.relay(p_epoch bigint, p_limit integer)
RETURNS TABLE (
    saga_id uuid, event_id text, topic text, headers text, payload text, attempts integer, at bigint, next_due_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_gone bigint[];
    v_found bigint;
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    -- Few leases, and perhaps many events: from one lease to the next along the index.
    WITH RECURSIVE own(epoch) AS (
        (SELECT o.epoch FROM {schema}.outbox o WHERE NOT o.dead ORDER BY o.epoch LIMIT 1)
        UNION ALL
        SELECT (SELECT o.epoch FROM {schema}.outbox o WHERE NOT o.dead AND o.epoch > own.epoch ORDER BY o.epoch LIMIT 1)
        FROM own WHERE own.epoch IS NOT NULL
    )
    SELECT array_agg(own.epoch) INTO v_gone FROM own
    WHERE own.epoch <> p_epoch
        AND NOT EXISTS (SELECT 1 FROM {schema}.lease f WHERE f.epoch = own.epoch AND f.fenced_at IS NULL);
    IF v_gone IS NOT NULL THEN
        UPDATE {schema}.outbox o SET epoch = p_epoch WHERE o.epoch = ANY (v_gone) AND NOT o.dead;
    END IF;
    RETURN QUERY
    SELECT o.saga_id, o.event_id, o.topic, o.headers, o.payload, o.attempts, {schema}.micros(o.at), NULL::bigint
    FROM {schema}.outbox o
    WHERE o.epoch = p_epoch AND NOT o.dead AND o.due_at <= v_now AND NOT EXISTS (
        SELECT 1 FROM {schema}.outbox b
        WHERE b.saga_id = o.saga_id AND (b.seq, b.nth) < (o.seq, o.nth)
            AND NOT b.dead AND (b.epoch <> p_epoch OR b.due_at > v_now))
    -- Whatever the limit cuts off, of one saga it cuts off the last.
    ORDER BY o.saga_id, o.seq, o.nth LIMIT p_limit;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found < p_limit THEN
        RETURN QUERY
        SELECT NULL::uuid, NULL::text, NULL::text, NULL::text, NULL::text, NULL::integer, NULL::bigint,
            {schema}.micros(min(o.due_at)) FROM {schema}.outbox o
        WHERE o.epoch = p_epoch AND NOT o.dead AND o.due_at > v_now;
    END IF;
END $$;

-- What became of events. Those that another lease has by now are left alone.
CREATE FUNCTION {schema}.settle(
    p_epoch bigint, p_published text[], p_retry text[], p_after bigint[], p_retry_error text[],
    p_dead text[], p_dead_error text[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
    DELETE FROM {schema}.outbox o USING unnest(p_published) AS e(event)
    WHERE o.event_id = e.event AND o.epoch = p_epoch AND NOT o.dead;
    UPDATE {schema}.outbox o
    SET due_at = clock_timestamp() + e.after * interval '1 microsecond', attempts = o.attempts + 1, error = e.error
    FROM unnest(p_retry, p_after, p_retry_error) AS e(event, after, error)
    WHERE o.event_id = e.event AND o.epoch = p_epoch AND NOT o.dead;
    UPDATE {schema}.outbox o SET dead = true, attempts = o.attempts + 1, error = e.error
    FROM unnest(p_dead, p_dead_error) AS e(event, error)
    WHERE o.event_id = e.event AND o.epoch = p_epoch AND NOT o.dead;
END $$;

-- An event that waits for a human is tried again, or dropped.
CREATE FUNCTION {schema}.revive(p_event text, p_again boolean) RETURNS boolean
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
BEGIN
    IF p_again THEN
        UPDATE {schema}.outbox SET dead = false, attempts = 0, error = NULL, due_at = clock_timestamp()
        WHERE event_id = p_event AND dead;
    ELSE
        DELETE FROM {schema}.outbox WHERE event_id = p_event AND dead;
    END IF;
    RETURN FOUND;
END $$;
