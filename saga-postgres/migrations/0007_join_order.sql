-- The order of all joins is said. What the planner knows of a table may be old: after a quiet night it takes the tables
-- for empty, and to go through all that is live to find a batch's sagas in it then looks as cheap as to look up each of
-- them. Plans are kept, and what was cheap in the morning takes seconds at noon. So:
--
-- * Rows that belong to what a call brings are looked up one by one: LATERAL, with an OFFSET that skips nothing. It
--   keeps the planner from taking the sub-select apart, and so from turning the loop around; it costs nothing.
-- * What is changed is found by = ANY of the ids, or, where each row gets a value of its own, in a loop: a join with
--   the table that is changed cannot be kept from being turned around.
--
-- No plan has a bitmap either: of the few rows that a look-up may have, by what the planner guesses, it finds one, and
-- the bitmap costs more than that. And arrays are taken apart in the list of columns, row by row; in FROM each of them
-- is written to a table first.
--
-- Where scans are switched off, so is the compiler: a table that can only be scanned looks so dear then that its plan
-- would be compiled each time. (Whoever replaces one of these functions has to say all its settings again.)

ALTER FUNCTION {schema}.claim_one(bigint, uuid) SET jit = off;
ALTER FUNCTION {schema}.close_lease(bigint) SET jit = off;
ALTER FUNCTION {schema}.change_locks(uuid, text, text[], timestamptz) SET jit = off;
ALTER FUNCTION {schema}.revive(text, boolean) SET jit = off;
ALTER FUNCTION {schema}.send(text[], text[], text[], text[]) SET enable_bitmapscan = off;

-- Creates sagas. Answers only for those that it did not create: the place in the arrays, and the
-- saga that has the key.
CREATE OR REPLACE FUNCTION {schema}.start(
    p_epoch bigint, p_saga uuid[], p_definition text[], p_version integer[], p_key text[], p_input bytea[],
    p_nonce bigint[], p_body text[]
) RETURNS TABLE (place bigint, saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_new uuid[];
BEGIN
    IF p_epoch IS NOT NULL THEN
        PERFORM {schema}.hold_lease(p_epoch);
    END IF;
    -- In the order of the keys, so that two starts of the same keys cannot deadlock. First as if all were new, which
    -- they nearly always are: what is there already shows as a violation, and costs nothing otherwise.
    BEGIN
        INSERT INTO {schema}.saga (saga_id, definition, version, key, input, created_at)
        SELECT n.saga, n.definition, n.version, n.key, n.input, v_now
        FROM (
            SELECT unnest(p_saga) AS saga, unnest(p_definition) AS definition, unnest(p_version) AS version,
                unnest(p_key) AS key, unnest(p_input) AS input
        ) n
        ORDER BY n.definition, n.key;
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
        SELECT unnest(p_saga), 0, p_epoch, unnest(p_nonce), v_now, unnest(p_body);
        INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
        SELECT unnest(p_saga), unnest(p_definition), unnest(p_version), p_epoch, CASE WHEN p_epoch IS NULL THEN v_now END;
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        -- Some keys are taken, or one saga is here twice: one by one, below.
    END;
    WITH created AS (
        INSERT INTO {schema}.saga (saga_id, definition, version, key, input, created_at)
        SELECT n.saga, n.definition, n.version, n.key, n.input, v_now
        FROM (
            SELECT unnest(p_saga) AS saga, unnest(p_definition) AS definition, unnest(p_version) AS version,
                unnest(p_key) AS key, unnest(p_input) AS input
        ) n
        ORDER BY n.definition, n.key, n.saga
        ON CONFLICT DO NOTHING
        RETURNING saga.saga_id
    )
    SELECT array_agg(created.saga_id) INTO v_new FROM created;
    INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
    SELECT n.saga, 0, p_epoch, n.nonce, v_now, n.body
    FROM (SELECT unnest(p_saga) AS saga, unnest(p_nonce) AS nonce, unnest(p_body) AS body) n WHERE n.saga = ANY (v_new)
    ON CONFLICT DO NOTHING;
    INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
    SELECT n.saga, n.definition, n.version, p_epoch, CASE WHEN p_epoch IS NULL THEN v_now END
    FROM (SELECT unnest(p_saga) AS saga, unnest(p_definition) AS definition, unnest(p_version) AS version) n
    WHERE n.saga = ANY (v_new)
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM (SELECT unnest(p_saga) AS saga, unnest(p_definition) AS definition, unnest(p_key) AS key) n
    CROSS JOIN LATERAL (
        SELECT o.definition, o.key FROM {schema}.saga o WHERE o.saga_id = n.saga OFFSET 0
    ) s
    WHERE s.definition <> n.definition OR s.key <> n.key;
    IF FOUND THEN
        RAISE EXCEPTION 'a saga id in this start belongs to another saga' USING ERRCODE = 'SAG02';
    END IF;
    -- A new statement, a new snapshot: it sees whoever was first, even if only just now.
    RETURN QUERY
    SELECT n.place, s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at)
    FROM (
        SELECT unnest(p_saga) AS saga, unnest(p_definition) AS definition, unnest(p_key) AS key,
            generate_subscripts(p_saga, 1)::bigint AS place
    ) n
    CROSS JOIN LATERAL (
        SELECT * FROM {schema}.saga o WHERE o.definition = n.definition AND o.key = n.key OFFSET 0
    ) s
    WHERE n.saga <> ALL (coalesce(v_new, '{}'));
END $$;

-- Appends turns. Answers for each place: 0 written, 1 repeated, 2 a rival's.
CREATE OR REPLACE FUNCTION {schema}.append(
    p_epoch bigint, p_saga uuid[], p_seq integer[], p_nonce bigint[], p_ends smallint[], p_body text[],
    p_parked uuid[], p_parked_due bigint[], p_parked_standing smallint[]
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_all boolean := true;
    v_written uuid[] := p_saga;
    v_count bigint;
    v_ended uuid[];
    v record;
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    -- First as if all could be written, which they nearly always can: less than all is taken back, and sorted out.
    -- Who wrote the last turn and did not end or park the saga with it owns it still, as its lease stands; only
    -- after a claim `live` must be asked. (No index may serve the owner: most sagas that run have the same one.)
    BEGIN
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, ends, body)
        SELECT t.saga, t.seq, p_epoch, t.nonce, v_now, t.ends, t.body
        FROM (
            SELECT unnest(p_saga) AS saga, unnest(p_seq) AS seq, unnest(p_nonce) AS nonce, unnest(p_ends) AS ends,
                unnest(p_body) AS body
        ) t
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.turn last WHERE last.saga_id = t.saga AND last.seq = t.seq - 1 AND (
                last.epoch = p_epoch AND last.ends IS NULL
                OR EXISTS (
                    SELECT 1 FROM {schema}.live l
                    WHERE l.saga_id = t.saga AND l.owner IS NOT DISTINCT FROM p_epoch OFFSET 0))
            OFFSET 0
        ) last;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count < cardinality(p_saga) THEN
            RAISE unique_violation;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        v_all := false;
        WITH written AS (
            INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, ends, body)
            SELECT t.saga, t.seq, p_epoch, t.nonce, v_now, t.ends, t.body
            FROM (
                SELECT unnest(p_saga) AS saga, unnest(p_seq) AS seq, unnest(p_nonce) AS nonce, unnest(p_ends) AS ends,
                    unnest(p_body) AS body
            ) t
            CROSS JOIN LATERAL (
                SELECT 1 FROM {schema}.live l
                WHERE l.saga_id = t.saga AND l.owner IS NOT DISTINCT FROM p_epoch OFFSET 0
            ) owned
            CROSS JOIN LATERAL (
                SELECT 1 FROM {schema}.turn o WHERE o.saga_id = t.saga AND o.seq = t.seq - 1 OFFSET 0
            ) last
            ON CONFLICT DO NOTHING
            RETURNING turn.saga_id
        )
        SELECT array_agg(written.saga_id) INTO v_written FROM written;
    END;
    IF 0 < ANY (p_ends) THEN
        SELECT array_agg(t.saga) INTO v_ended FROM (SELECT unnest(p_saga) AS saga, unnest(p_ends) AS ends) t
        WHERE t.ends > 0 AND (v_all OR t.saga = ANY (v_written));
    END IF;
    IF cardinality(p_parked) > 0 THEN
        FOR v IN
            SELECT * FROM (
                SELECT unnest(p_parked) AS saga, unnest(p_parked_due) AS due, unnest(p_parked_standing) AS standing
            ) p
            WHERE v_all OR p.saga = ANY (v_written)
        LOOP
            UPDATE {schema}.live l SET owner = NULL, due_at = {schema}.instant(v.due), standing = v.standing
            WHERE l.saga_id = v.saga AND l.owner IS NOT DISTINCT FROM p_epoch;
        END LOOP;
        -- A message that came a moment ago: its sender saw an owner, and woke nobody. This is a new statement,
        -- whose rows are locked: it sees every message whose sender did not wait for this transaction.
        UPDATE {schema}.live l SET due_at = v_now
        WHERE l.saga_id = ANY (p_parked) AND l.owner IS NULL AND l.standing <> 4
            AND (v_all OR l.saga_id = ANY (v_written)) AND EXISTS (
                SELECT 1 FROM {schema}.saga s
                CROSS JOIN LATERAL (
                    SELECT 1 FROM {schema}.message m
                    WHERE m.definition = s.definition AND m.key = s.key AND m.read_seq IS NULL OFFSET 0
                ) unread
                WHERE s.saga_id = l.saga_id
                UNION ALL
                SELECT 1 FROM {schema}.lock k WHERE k.saga_id = l.saga_id AND k.token IS NOT NULL AND k.read_seq IS NULL);
    END IF;
    IF v_ended IS NOT NULL THEN
        DELETE FROM {schema}.live l WHERE l.saga_id = ANY (v_ended);
        -- Likewise: a sender either sees that the saga is over, or its message is seen here. Mostly there is none.
        IF EXISTS (SELECT 1 FROM {schema}.message m WHERE m.read_seq IS NULL) THEN
            PERFORM 1 FROM (SELECT unnest(v_ended) AS saga) e
            CROSS JOIN LATERAL (
                SELECT o.definition, o.key FROM {schema}.saga o WHERE o.saga_id = e.saga OFFSET 0
            ) s
            CROSS JOIN LATERAL (
                SELECT 1 FROM {schema}.message m
                WHERE m.definition = s.definition AND m.key = s.key AND m.read_seq IS NULL OFFSET 0
            ) unread
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'a saga would end with a message unread' USING ERRCODE = 'SAG03';
            END IF;
        END IF;
        IF EXISTS (SELECT 1 FROM {schema}.lock) THEN
            -- None, but for a saga that ends without having given up its locks.
            PERFORM {schema}.change_locks(e.saga, NULL, NULL, v_now) FROM (SELECT unnest(v_ended) AS saga) e
            WHERE EXISTS (SELECT 1 FROM {schema}.lock k WHERE k.saga_id = e.saga OFFSET 0) ORDER BY e.saga;
        END IF;
        INSERT INTO {schema}.ended (ended_at, saga_id) SELECT v_now, unnest(v_ended);
    END IF;
    IF v_all OR coalesce(cardinality(v_written), 0) = cardinality(p_saga) THEN
        RETURN '{}';
    END IF;
    RETURN (
        SELECT array_agg(
            CASE
                WHEN t.saga = ANY (v_written) THEN 0
                WHEN own.found THEN 1
                ELSE 2
            END::smallint ORDER BY t.place)
        FROM (
            SELECT unnest(p_saga) AS saga, unnest(p_seq) AS seq, unnest(p_nonce) AS nonce,
                generate_subscripts(p_saga, 1) AS place
        ) t
        LEFT JOIN LATERAL (
            SELECT true AS found FROM {schema}.turn o
            WHERE o.saga_id = t.saga AND o.seq = t.seq AND o.nonce = t.nonce AND o.epoch = p_epoch OFFSET 0
        ) own ON true
    );
END $$;

-- Appends turns of which some publish events, all in one batch. `p_place` tells for each event which turn
-- it belongs to, counted from one. Answers as `append` does.
CREATE OR REPLACE FUNCTION {schema}.append_with_events(
    p_epoch bigint, p_saga uuid[], p_seq integer[], p_nonce bigint[], p_ends smallint[], p_body text[],
    p_parked uuid[], p_parked_due bigint[], p_parked_standing smallint[],
    p_place integer[], p_nth integer[], p_event text[], p_topic text[], p_headers text[], p_payload text[]
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_answers smallint[];
BEGIN
    v_answers := {schema}.append(
        p_epoch, p_saga, p_seq, p_nonce, p_ends, p_body, p_parked, p_parked_due, p_parked_standing);
    INSERT INTO {schema}.outbox (saga_id, seq, nth, event_id, topic, headers, payload, epoch, at, due_at)
    SELECT p_saga[e.place], p_seq[e.place], e.nth, e.event, e.topic, e.headers, e.payload, p_epoch, t.at, t.at
    FROM (
        SELECT unnest(p_place) AS place, unnest(p_nth) AS nth, unnest(p_event) AS event, unnest(p_topic) AS topic,
            unnest(p_headers) AS headers, unnest(p_payload) AS payload
    ) e
    CROSS JOIN LATERAL (
        SELECT o.at FROM {schema}.turn o WHERE o.saga_id = p_saga[e.place] AND o.seq = p_seq[e.place] OFFSET 0
    ) t
    -- No answers at all say that everything was written.
    WHERE cardinality(v_answers) = 0 OR v_answers[e.place] = 0
    ON CONFLICT DO NOTHING;
    RETURN v_answers;
END $$;

-- Appends one turn with all that goes with it. `p_effects` holds lists: letters, read, starts, sends; and
-- locks, an object with step and keys, or with neither when the saga gives up what it has.
CREATE OR REPLACE FUNCTION {schema}.append_with_effects(
    p_epoch bigint, p_saga uuid, p_seq integer, p_nonce bigint, p_ends smallint, p_body text,
    p_parked boolean, p_due bigint, p_standing smallint,
    p_nth integer[], p_event text[], p_topic text[], p_headers text[], p_payload text[],
    p_effects json
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_answer smallint[];
    v_now timestamptz;
    v_read text[];
    v_told uuid[];
    v record;
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    -- The saga, and those that it tells something, in one order: two that tell each other do not deadlock.
    SELECT array_agg(s.saga_id) INTO v_told
    FROM json_to_recordset(p_effects -> 'sends') AS m(definition text, key text)
    CROSS JOIN LATERAL (
        SELECT o.saga_id FROM {schema}.saga o WHERE o.definition = m.definition AND o.key = m.key OFFSET 0
    ) s;
    PERFORM 1 FROM {schema}.live l WHERE l.saga_id = ANY (p_saga || v_told) ORDER BY l.saga_id FOR UPDATE;
    SELECT coalesce(array_agg(r.value), '{}') INTO v_read FROM json_array_elements_text(p_effects -> 'read') AS r(value);
    -- Before the turn, which may end the saga; and only when the turn is going to be written.
    IF cardinality(v_read) > 0
        AND EXISTS (SELECT 1 FROM {schema}.live l WHERE l.saga_id = p_saga AND l.owner IS NOT DISTINCT FROM p_epoch)
        AND EXISTS (SELECT 1 FROM {schema}.turn t WHERE t.saga_id = p_saga AND t.seq = p_seq - 1)
        AND NOT EXISTS (SELECT 1 FROM {schema}.turn t WHERE t.saga_id = p_saga AND t.seq = p_seq)
    THEN
        SELECT s.definition, s.key INTO v FROM {schema}.saga s WHERE s.saga_id = p_saga;
        UPDATE {schema}.message m SET read_seq = p_seq
        WHERE m.definition = v.definition AND m.key = v.key AND m.message_id = ANY (v_read) AND m.read_seq IS NULL;
        UPDATE {schema}.lock k SET read_seq = p_seq
        WHERE k.saga_id = p_saga AND k.token IS NOT NULL AND ('lock:' || k.step) = ANY (v_read);
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
    IF json_typeof(p_effects -> 'locks') = 'object' AND coalesce(p_ends, 0) = 0 THEN
        PERFORM {schema}.change_locks(p_saga, p_effects #>> '{locks,step}', (
            SELECT array_agg(k.value) FROM json_array_elements_text(p_effects #> '{locks,keys}') AS k(value)), v_now);
    END IF;
    RETURN v_answer;
END $$;

-- Gives locks to those who are first in all their lines, among those who stand in one of these. The caller
-- holds the lock manager's lock.
CREATE OR REPLACE FUNCTION {schema}.grant_locks(p_key text[]) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_saga uuid;
    v_token bigint;
BEGIN
    FOR v_saga IN
        SELECT DISTINCT k.saga_id FROM (
            SELECT l.saga_id FROM {schema}.lock l WHERE l.key = ANY (p_key) AND l.token IS NULL OFFSET 0
        ) k ORDER BY k.saga_id
    LOOP
        PERFORM 1 FROM {schema}.lock own
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.lock l WHERE l.key = own.key AND l.arrival < own.arrival LIMIT 1
        ) ahead
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

-- Claims what is due and what fenced leases have left. The row without a saga tells when the next
-- one is due, and the time.
CREATE OR REPLACE FUNCTION {schema}.claim(p_epoch bigint, p_definition text[], p_version integer[], p_limit integer)
RETURNS TABLE (
    saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint, crashed boolean,
    next_due_at bigint, told_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_crashed uuid[];
    v_due uuid[];
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    SELECT coalesce(array_agg(o.saga_id), '{}') INTO v_crashed FROM (
        SELECT c.saga_id
        FROM {schema}.lease f
        CROSS JOIN LATERAL (
            SELECT l.saga_id FROM {schema}.live l
            WHERE l.owner = f.epoch AND EXISTS (
                SELECT 1 FROM unnest(p_definition, p_version) AS d(name, version)
                WHERE d.name = l.definition AND d.version = l.version)
            LIMIT p_limit
            FOR UPDATE SKIP LOCKED
        ) c
        WHERE f.fenced_at IS NOT NULL LIMIT p_limit
    ) o;
    SELECT coalesce(array_agg(o.saga_id), '{}') INTO v_due FROM (
        SELECT c.saga_id
        FROM unnest(p_definition, p_version) AS d(name, version)
        CROSS JOIN LATERAL (
            SELECT l.saga_id, l.due_at FROM {schema}.live l
            WHERE l.definition = d.name AND l.version = d.version AND l.owner IS NULL AND l.due_at <= v_now
            ORDER BY l.due_at LIMIT p_limit - cardinality(v_crashed)
            FOR UPDATE SKIP LOCKED
        ) c
        ORDER BY c.due_at LIMIT p_limit - cardinality(v_crashed)
    ) o;
    UPDATE {schema}.live l SET owner = p_epoch, due_at = NULL, standing = 0 WHERE l.saga_id = ANY (v_crashed || v_due);
    RETURN QUERY
    SELECT s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at),
        c.place <= cardinality(v_crashed), NULL::bigint, NULL::bigint
    FROM (SELECT unnest(v_crashed || v_due) AS saga, generate_subscripts(v_crashed || v_due, 1) AS place) c
    CROSS JOIN LATERAL (SELECT * FROM {schema}.saga o WHERE o.saga_id = c.saga OFFSET 0) s;
    RETURN QUERY
    SELECT NULL::uuid, NULL::text, NULL::integer, NULL::text, NULL::bytea, NULL::bigint, NULL::boolean,
        (SELECT {schema}.micros(min(n.due_at))
         FROM unnest(p_definition, p_version) AS d(name, version)
         CROSS JOIN LATERAL (
            SELECT l.due_at FROM {schema}.live l
            WHERE l.definition = d.name AND l.version = d.version AND l.owner IS NULL AND l.due_at IS NOT NULL
            ORDER BY l.due_at LIMIT 1
         ) n),
        {schema}.micros(v_now);
END $$;

CREATE OR REPLACE FUNCTION {schema}.load(p_saga uuid[])
RETURNS TABLE (
    saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint,
    seq integer, at bigint, epoch bigint, body text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at),
        t.seq, {schema}.micros(t.at), t.epoch, t.body
    FROM (SELECT unnest(p_saga) AS saga, generate_subscripts(p_saga, 1) AS place) i
    CROSS JOIN LATERAL (SELECT * FROM {schema}.saga o WHERE o.saga_id = i.saga OFFSET 0) s
    CROSS JOIN LATERAL (SELECT * FROM {schema}.turn o WHERE o.saga_id = i.saga OFFSET 0) t
    ORDER BY i.place, t.seq;
END $$;

-- Fences lapsed leases. Waits for appends that are under way under them, but not for ever: a stuck
-- one is tried again at the next round.
CREATE OR REPLACE FUNCTION {schema}.fence_lapsed() RETURNS SETOF bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '2s'
AS $$
BEGIN
    -- Leases whose sagas have all been taken over are done with.
    DELETE FROM {schema}.lease f
    WHERE f.fenced_at < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT 1 FROM {schema}.live l WHERE l.owner = f.epoch OFFSET 0);
    RETURN QUERY
    WITH lapsed AS (
        SELECT f.epoch FROM {schema}.lease f
        WHERE f.fenced_at IS NULL AND f.lease_until < clock_timestamp()
        ORDER BY f.epoch FOR UPDATE
    )
    UPDATE {schema}.lease f SET fenced_at = clock_timestamp() FROM lapsed WHERE f.epoch = lapsed.epoch
    RETURNING f.epoch;
END $$;

-- What waits to be read by the sagas of a lease: messages, in the order in which they came, and locks that were given.
CREATE FUNCTION {schema}.inbox(p_epoch bigint)
RETURNS TABLE (saga_id uuid, message_id text, body text, step text, tokens text, nth bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.saga_id, m.message_id, m.body, NULL::text, NULL::text, m.nth FROM {schema}.message m
    CROSS JOIN LATERAL (
        SELECT o.saga_id FROM {schema}.saga o WHERE o.definition = m.definition AND o.key = m.key OFFSET 0
    ) s
    CROSS JOIN LATERAL (SELECT o.owner FROM {schema}.live o WHERE o.saga_id = s.saga_id OFFSET 0) l
    WHERE m.read_seq IS NULL AND l.owner = p_epoch
    UNION ALL
    SELECT k.saga_id, NULL, NULL, k.step, json_object_agg(k.key, k.token)::text, 0 FROM {schema}.lock k
    CROSS JOIN LATERAL (SELECT o.owner FROM {schema}.live o WHERE o.saga_id = k.saga_id OFFSET 0) l
    WHERE k.token IS NOT NULL AND k.read_seq IS NULL AND l.owner = p_epoch
    GROUP BY k.saga_id, k.step
    ORDER BY 6;
END $$;

-- What the lease's worker is to publish now; the row without a saga tells when the next one is due.
CREATE OR REPLACE FUNCTION {schema}.relay(p_epoch bigint, p_limit integer)
RETURNS TABLE (
    saga_id uuid, event_id text, topic text, headers text, payload text, attempts integer, at bigint, next_due_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
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
        AND NOT EXISTS (SELECT 1 FROM {schema}.lease f WHERE f.epoch = own.epoch AND f.fenced_at IS NULL OFFSET 0);
    IF v_gone IS NOT NULL THEN
        UPDATE {schema}.outbox o SET epoch = p_epoch WHERE o.epoch = ANY (v_gone) AND NOT o.dead;
    END IF;
    RETURN QUERY
    SELECT o.saga_id, o.event_id, o.topic, o.headers, o.payload, o.attempts, {schema}.micros(o.at), NULL::bigint
    FROM {schema}.outbox o
    WHERE o.epoch = p_epoch AND NOT o.dead AND o.due_at <= v_now AND NOT EXISTS (
        SELECT 1 FROM {schema}.outbox b
        WHERE b.saga_id = o.saga_id AND (b.seq, b.nth) < (o.seq, o.nth)
            AND b.dead IS NOT TRUE AND (b.epoch <> p_epoch OR b.due_at > v_now) OFFSET 0)
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
CREATE OR REPLACE FUNCTION {schema}.settle(
    p_epoch bigint, p_published text[], p_retry text[], p_after bigint[], p_retry_error text[],
    p_dead text[], p_dead_error text[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v record;
BEGIN
    -- (No index may serve the epoch: all that this worker publishes have it.)
    DELETE FROM {schema}.outbox o
    WHERE o.event_id = ANY (p_published) AND o.epoch IS NOT DISTINCT FROM p_epoch AND o.dead IS NOT TRUE;
    FOR v IN SELECT unnest(p_retry) AS event, unnest(p_after) AS after, unnest(p_retry_error) AS error LOOP
        UPDATE {schema}.outbox o
        SET due_at = clock_timestamp() + v.after * interval '1 microsecond', attempts = o.attempts + 1, error = v.error
        WHERE o.event_id = v.event AND o.epoch IS NOT DISTINCT FROM p_epoch AND o.dead IS NOT TRUE;
    END LOOP;
    FOR v IN SELECT unnest(p_dead) AS event, unnest(p_dead_error) AS error LOOP
        UPDATE {schema}.outbox o SET dead = true, attempts = o.attempts + 1, error = v.error
        WHERE o.event_id = v.event AND o.epoch IS NOT DISTINCT FROM p_epoch AND o.dead IS NOT TRUE;
    END LOOP;
END $$;

-- Deletes sagas that have ended, and messages to sagas that never came.
CREATE OR REPLACE FUNCTION {schema}.forget(p_saga uuid[], p_retention bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_saga uuid[];
    v_ended timestamptz[];
    v record;
BEGIN
    SELECT array_agg(o.saga_id), array_agg(o.ended_at) INTO v_saga, v_ended FROM (
        SELECT e.saga_id, e.ended_at FROM (SELECT unnest(p_saga) AS saga) i
        CROSS JOIN LATERAL (
            SELECT t.at FROM {schema}.turn t WHERE t.saga_id = i.saga AND t.ends > 0 OFFSET 0
        ) last
        CROSS JOIN LATERAL (
            SELECT o.saga_id, o.ended_at FROM {schema}.ended o
            WHERE o.ended_at = last.at AND o.saga_id = i.saga FOR UPDATE SKIP LOCKED
        ) e
        ORDER BY e.ended_at, e.saga_id
    ) o;
    DELETE FROM {schema}.message m
    WHERE m.read_seq IS NULL AND m.sent_at < clock_timestamp() - p_retention * interval '1 microsecond'
        AND NOT EXISTS (
            SELECT 1 FROM {schema}.saga s WHERE s.definition = m.definition AND s.key = m.key OFFSET 0);
    IF v_saga IS NULL THEN
        RETURN 0;
    END IF;
    FOR v IN
        SELECT o.saga, o.ended_at, s.definition, s.key
        FROM (SELECT unnest(v_saga) AS saga, unnest(v_ended) AS ended_at) o
        LEFT JOIN LATERAL (SELECT * FROM {schema}.saga i WHERE i.saga_id = o.saga OFFSET 0) s ON true
    LOOP
        DELETE FROM {schema}.message m WHERE m.definition = v.definition AND m.key = v.key;
        DELETE FROM {schema}.ended e WHERE e.ended_at = v.ended_at AND e.saga_id = v.saga;
    END LOOP;
    DELETE FROM {schema}.turn t WHERE t.saga_id = ANY (v_saga);
    DELETE FROM {schema}.dead_letter d WHERE d.saga_id = ANY (v_saga);
    DELETE FROM {schema}.saga s WHERE s.saga_id = ANY (v_saga);
    RETURN cardinality(v_saga);
END $$;
