-- Turns and starts are written as if all were new, and sorted out only when they are not; and no plan can go by the
-- owner, which most running sagas share. Turns that park their saga say so from here on: `ends` is 0.

COMMENT ON COLUMN {schema}.turn.ends IS 'With the last turn: 1 completed, 2 rolled back; with a turn that parks the saga: 0';

-- Creates sagas. Answers only for those that it did not create: the place in the arrays, and the
-- saga that has the key.
CREATE OR REPLACE FUNCTION {schema}.start(
    p_epoch bigint, p_saga uuid[], p_definition text[], p_version integer[], p_key text[], p_input bytea[],
    p_nonce bigint[], p_body text[]
) RETURNS TABLE (place bigint, saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
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
        FROM unnest(p_saga, p_definition, p_version, p_key, p_input) AS n(saga, definition, version, key, input)
        ORDER BY n.definition, n.key;
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
        SELECT n.saga, 0, p_epoch, n.nonce, v_now, n.body FROM unnest(p_saga, p_nonce, p_body) AS n(saga, nonce, body);
        INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
        SELECT n.saga, n.definition, n.version, p_epoch, CASE WHEN p_epoch IS NULL THEN v_now END
        FROM unnest(p_saga, p_definition, p_version) AS n(saga, definition, version);
        RETURN;
    EXCEPTION WHEN unique_violation THEN
        -- Some keys are taken, or one saga is here twice: one by one, below.
    END;
    WITH created AS (
        INSERT INTO {schema}.saga (saga_id, definition, version, key, input, created_at)
        SELECT n.saga, n.definition, n.version, n.key, n.input, v_now
        FROM unnest(p_saga, p_definition, p_version, p_key, p_input) AS n(saga, definition, version, key, input)
        ORDER BY n.definition, n.key, n.saga
        ON CONFLICT DO NOTHING
        RETURNING saga.saga_id
    )
    SELECT array_agg(created.saga_id) INTO v_new FROM created;
    INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
    SELECT n.saga, 0, p_epoch, n.nonce, v_now, n.body
    FROM unnest(p_saga, p_nonce, p_body) AS n(saga, nonce, body) WHERE n.saga = ANY (v_new)
    ON CONFLICT DO NOTHING;
    INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
    SELECT n.saga, n.definition, n.version, p_epoch, CASE WHEN p_epoch IS NULL THEN v_now END
    FROM unnest(p_saga, p_definition, p_version) AS n(saga, definition, version) WHERE n.saga = ANY (v_new)
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM unnest(p_saga, p_definition, p_key) AS n(saga, definition, key)
    JOIN {schema}.saga s ON s.saga_id = n.saga WHERE s.definition <> n.definition OR s.key <> n.key;
    IF FOUND THEN
        RAISE EXCEPTION 'a saga id in this start belongs to another saga' USING ERRCODE = 'SAG02';
    END IF;
    -- A new statement, a new snapshot: it sees whoever was first, even if only just now.
    RETURN QUERY
    SELECT n.place, s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at)
    FROM unnest(p_saga, p_definition, p_key) WITH ORDINALITY AS n(saga, definition, key, place)
    JOIN {schema}.saga s ON s.definition = n.definition AND s.key = n.key
    WHERE n.saga <> ALL (coalesce(v_new, '{}'));
END $$;

-- Appends turns. Answers for each place: 0 written, 1 repeated, 2 a rival's.
CREATE OR REPLACE FUNCTION {schema}.append(
    p_epoch bigint, p_saga uuid[], p_seq integer[], p_nonce bigint[], p_ends smallint[], p_body text[],
    p_parked uuid[], p_parked_due bigint[], p_parked_standing smallint[]
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_all boolean := true;
    v_written uuid[] := p_saga;
    v_count bigint;
    v_ended uuid[];
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    -- First as if all could be written, which they nearly always can: less than all is taken back, and sorted out.
    -- Who wrote the last turn and did not end or park the saga with it owns it still, as its lease stands; only
    -- after a claim `live` must be asked. (No index may serve the owner: most sagas that run have the same one.)
    BEGIN
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, ends, body)
        SELECT t.saga, t.seq, p_epoch, t.nonce, v_now, t.ends, t.body
        FROM unnest(p_saga, p_seq, p_nonce, p_ends, p_body) AS t(saga, seq, nonce, ends, body)
        JOIN {schema}.turn last ON last.saga_id = t.saga AND last.seq = t.seq - 1 AND (
            last.epoch = p_epoch AND last.ends IS NULL
            OR EXISTS (SELECT 1 FROM {schema}.live l WHERE l.saga_id = t.saga AND l.owner IS NOT DISTINCT FROM p_epoch));
        GET DIAGNOSTICS v_count = ROW_COUNT;
        IF v_count < cardinality(p_saga) THEN
            RAISE unique_violation;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        v_all := false;
        WITH written AS (
            INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, ends, body)
            SELECT t.saga, t.seq, p_epoch, t.nonce, v_now, t.ends, t.body
            FROM unnest(p_saga, p_seq, p_nonce, p_ends, p_body) AS t(saga, seq, nonce, ends, body)
            JOIN {schema}.live l ON l.saga_id = t.saga AND l.owner IS NOT DISTINCT FROM p_epoch
            JOIN {schema}.turn last ON last.saga_id = t.saga AND last.seq = t.seq - 1
            ON CONFLICT DO NOTHING
            RETURNING turn.saga_id
        )
        SELECT array_agg(written.saga_id) INTO v_written FROM written;
    END;
    SELECT array_agg(t.saga) INTO v_ended FROM unnest(p_saga, p_ends) AS t(saga, ends)
    WHERE t.ends > 0 AND (v_all OR t.saga = ANY (v_written));
    IF cardinality(p_parked) > 0 THEN
        UPDATE {schema}.live l SET owner = NULL, due_at = {schema}.instant(p.due), standing = p.standing
        FROM unnest(p_parked, p_parked_due, p_parked_standing) AS p(saga, due, standing)
        WHERE l.saga_id = p.saga AND l.owner IS NOT DISTINCT FROM p_epoch AND (v_all OR p.saga = ANY (v_written));
        -- A message that came a moment ago: its sender saw an owner, and woke nobody. This is a new statement,
        -- whose rows are locked: it sees every message whose sender did not wait for this transaction.
        UPDATE {schema}.live l SET due_at = v_now FROM unnest(p_parked) AS p(saga)
        WHERE l.saga_id = p.saga AND l.owner IS NULL AND l.standing <> 4 AND (v_all OR p.saga = ANY (v_written)) AND EXISTS (
            SELECT 1 FROM {schema}.saga s JOIN {schema}.message m ON m.definition = s.definition AND m.key = s.key
            WHERE s.saga_id = p.saga AND m.read_seq IS NULL
            UNION ALL
            SELECT 1 FROM {schema}.lock k WHERE k.saga_id = p.saga AND k.token IS NOT NULL AND k.read_seq IS NULL);
    END IF;
    IF v_ended IS NOT NULL THEN
        DELETE FROM {schema}.live l USING unnest(v_ended) AS e(saga) WHERE l.saga_id = e.saga;
        -- Likewise: a sender either sees that the saga is over, or its message is seen here. Mostly there is none.
        IF EXISTS (SELECT 1 FROM {schema}.message m WHERE m.read_seq IS NULL) THEN
            PERFORM 1 FROM unnest(v_ended) AS e(saga) JOIN {schema}.saga s ON s.saga_id = e.saga
            JOIN {schema}.message m ON m.definition = s.definition AND m.key = s.key WHERE m.read_seq IS NULL LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'a saga would end with a message unread' USING ERRCODE = 'SAG03';
            END IF;
        END IF;
        IF EXISTS (SELECT 1 FROM {schema}.lock) THEN
            -- None, but for a saga that ends without having given up its locks.
            PERFORM {schema}.change_locks(k.saga_id, NULL, NULL, v_now) FROM unnest(v_ended) AS e(saga)
            JOIN {schema}.lock k ON k.saga_id = e.saga GROUP BY k.saga_id ORDER BY k.saga_id;
        END IF;
        INSERT INTO {schema}.ended (ended_at, saga_id) SELECT v_now, e.saga FROM unnest(v_ended) AS e(saga);
    END IF;
    IF v_all OR coalesce(cardinality(v_written), 0) = cardinality(p_saga) THEN
        RETURN '{}';
    END IF;
    RETURN (
        SELECT array_agg(
            CASE
                WHEN t.saga = ANY (v_written) THEN 0
                WHEN own.saga_id IS NOT NULL THEN 1
                ELSE 2
            END::smallint ORDER BY t.place)
        FROM unnest(p_saga, p_seq, p_nonce) WITH ORDINALITY AS t(saga, seq, nonce, place)
        LEFT JOIN {schema}.turn own
            ON own.saga_id = t.saga AND own.seq = t.seq AND own.nonce = t.nonce AND own.epoch = p_epoch
    );
END $$;

-- Deletes sagas that have ended, and messages to sagas that never came.
CREATE OR REPLACE FUNCTION {schema}.forget(p_saga uuid[], p_retention bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_saga uuid[];
    v_ended timestamptz[];
BEGIN
    SELECT array_agg(o.saga_id), array_agg(o.ended_at) INTO v_saga, v_ended FROM (
        SELECT e.saga_id, e.ended_at FROM unnest(p_saga) AS i(saga)
        JOIN {schema}.turn t ON t.saga_id = i.saga AND t.ends > 0
        JOIN {schema}.ended e ON e.ended_at = t.at AND e.saga_id = t.saga_id
        ORDER BY e.ended_at, e.saga_id FOR UPDATE OF e SKIP LOCKED
    ) o;
    DELETE FROM {schema}.message m
    WHERE m.read_seq IS NULL AND m.sent_at < clock_timestamp() - p_retention * interval '1 microsecond'
        AND NOT EXISTS (SELECT 1 FROM {schema}.saga s WHERE s.definition = m.definition AND s.key = m.key);
    IF v_saga IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM {schema}.turn t USING unnest(v_saga) AS o(saga) WHERE t.saga_id = o.saga;
    DELETE FROM {schema}.dead_letter d USING unnest(v_saga) AS o(saga) WHERE d.saga_id = o.saga;
    DELETE FROM {schema}.message m USING unnest(v_saga) AS o(saga), {schema}.saga s
        WHERE s.saga_id = o.saga AND m.definition = s.definition AND m.key = s.key;
    DELETE FROM {schema}.saga s USING unnest(v_saga) AS o(saga) WHERE s.saga_id = o.saga;
    DELETE FROM {schema}.ended e USING unnest(v_ended, v_saga) AS o(ended_at, saga)
        WHERE e.ended_at = o.ended_at AND e.saga_id = o.saga;
    RETURN cardinality(v_saga);
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
    IF json_typeof(p_effects -> 'locks') = 'object' AND coalesce(p_ends, 0) = 0 THEN
        PERFORM {schema}.change_locks(p_saga, p_effects #>> '{locks,step}', (
            SELECT array_agg(k.value) FROM json_array_elements_text(p_effects #> '{locks,keys}') AS k(value)), v_now);
    END IF;
    RETURN v_answer;
END $$;
