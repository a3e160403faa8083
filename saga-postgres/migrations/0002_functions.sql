-- The hot statements, as functions: one round trip and one transaction each, and plans that are
-- pinned to the primary keys. On young tables the planner would choose sequential scans and keep
-- them, which costs a factor of three.
--
-- Isolation: READ COMMITTED is enough. Whatever changes sagas holds FOR KEY SHARE on its lease row
-- until it commits; whoever fences takes FOR UPDATE on that row, which waits for it, and what is read
-- after that sees it. An append that comes later re-reads the row and finds it fenced.

CREATE FUNCTION {schema}.micros(at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (extract(epoch FROM at) * 1000000)::bigint;

CREATE FUNCTION {schema}.instant(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN timestamptz 'epoch' + micros * interval '1 microsecond';

CREATE FUNCTION {schema}.hold_lease(p_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM {schema}.lease WHERE epoch = p_epoch AND fenced_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease % is fenced', p_epoch USING ERRCODE = 'SAG01';
    END IF;
END $$;

-- Creates sagas. Answers only for those that it did not create: the place in the arrays, and the
-- saga that has the key.
CREATE FUNCTION {schema}.start(
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
    -- In the order of the keys, so that two starts of the same keys cannot deadlock.
    WITH created AS (
        INSERT INTO {schema}.saga (saga_id, definition, version, key, input, created_at)
        SELECT n.saga, n.definition, n.version, n.key, n.input, v_now
        FROM unnest(p_saga, p_definition, p_version, p_key, p_input) AS n(saga, definition, version, key, input)
        ORDER BY n.definition, n.key, n.saga
        ON CONFLICT DO NOTHING
        RETURNING saga.saga_id
    )
    SELECT array_agg(created.saga_id) INTO v_new FROM created;
    IF coalesce(cardinality(v_new), 0) = cardinality(p_saga) THEN
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, body)
        SELECT n.saga, 0, p_epoch, n.nonce, v_now, n.body FROM unnest(p_saga, p_nonce, p_body) AS n(saga, nonce, body);
        INSERT INTO {schema}.live (saga_id, definition, version, owner, due_at)
        SELECT n.saga, n.definition, n.version, p_epoch, CASE WHEN p_epoch IS NULL THEN v_now END
        FROM unnest(p_saga, p_definition, p_version) AS n(saga, definition, version);
    ELSE
        -- Some keys are taken, or one saga is here twice.
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
    END IF;
END $$;

-- Appends turns. Answers for each place: 0 written, 1 repeated, 2 a rival's.
CREATE FUNCTION {schema}.append(
    p_epoch bigint, p_saga uuid[], p_seq integer[], p_nonce bigint[], p_ends smallint[], p_body text[],
    p_parked uuid[], p_parked_due bigint[], p_parked_standing smallint[]
) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_written uuid[];
    v_ended uuid[];
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    WITH written AS (
        INSERT INTO {schema}.turn (saga_id, seq, epoch, nonce, at, ends, body)
        SELECT t.saga, t.seq, p_epoch, t.nonce, v_now, t.ends, t.body
        FROM unnest(p_saga, p_seq, p_nonce, p_ends, p_body) AS t(saga, seq, nonce, ends, body)
        JOIN {schema}.live l ON l.saga_id = t.saga AND l.owner = p_epoch
        JOIN {schema}.turn last ON last.saga_id = t.saga AND last.seq = t.seq - 1
        ON CONFLICT DO NOTHING
        RETURNING turn.saga_id, turn.ends
    )
    SELECT array_agg(written.saga_id), array_agg(written.saga_id) FILTER (WHERE written.ends IS NOT NULL)
    INTO v_written, v_ended FROM written;
    IF cardinality(p_parked) > 0 THEN
        UPDATE {schema}.live l SET owner = NULL, due_at = {schema}.instant(p.due), standing = p.standing
        FROM unnest(p_parked, p_parked_due, p_parked_standing) AS p(saga, due, standing)
        WHERE l.saga_id = p.saga AND l.owner = p_epoch AND p.saga = ANY (v_written);
        -- A message that came a moment ago: its sender saw an owner, and woke nobody. This is a new statement,
        -- whose rows are locked: it sees every message whose sender did not wait for this transaction.
        UPDATE {schema}.live l SET due_at = v_now FROM unnest(p_parked) AS p(saga)
        WHERE l.saga_id = p.saga AND l.owner IS NULL AND l.standing <> 4 AND p.saga = ANY (v_written) AND EXISTS (
            SELECT 1 FROM {schema}.saga s JOIN {schema}.message m ON m.definition = s.definition AND m.key = s.key
            WHERE s.saga_id = p.saga AND m.read_seq IS NULL
            UNION ALL
            SELECT 1 FROM {schema}.lock k WHERE k.saga_id = p.saga AND k.token IS NOT NULL AND k.read_seq IS NULL);
    END IF;
    IF v_ended IS NOT NULL THEN
        DELETE FROM {schema}.live l USING unnest(v_ended) AS e(saga) WHERE l.saga_id = e.saga;
        -- Likewise: a sender either sees that the saga is over, or its message is seen here.
        PERFORM 1 FROM unnest(v_ended) AS e(saga) JOIN {schema}.saga s ON s.saga_id = e.saga
        JOIN {schema}.message m ON m.definition = s.definition AND m.key = s.key WHERE m.read_seq IS NULL LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'a saga would end with a message unread' USING ERRCODE = 'SAG03';
        END IF;
        -- None, but for a saga that ends without having given up its locks.
        PERFORM {schema}.change_locks(k.saga_id, NULL, NULL, v_now) FROM unnest(v_ended) AS e(saga)
        JOIN {schema}.lock k ON k.saga_id = e.saga GROUP BY k.saga_id ORDER BY k.saga_id;
        INSERT INTO {schema}.ended (ended_at, saga_id) SELECT v_now, e.saga FROM unnest(v_ended) AS e(saga);
    END IF;
    IF coalesce(cardinality(v_written), 0) = cardinality(p_saga) THEN
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

-- Claims what is due and what fenced leases have left. The row without a saga tells when the next
-- one is due, and the time.
CREATE FUNCTION {schema}.claim(p_epoch bigint, p_definition text[], p_version integer[], p_limit integer)
RETURNS TABLE (
    saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint, crashed boolean,
    next_due_at bigint, told_at bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_crashed uuid[];
    v_due uuid[];
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    SELECT coalesce(array_agg(o.saga_id), '{}') INTO v_crashed FROM (
        SELECT l.saga_id
        FROM {schema}.lease f JOIN {schema}.live l ON l.owner = f.epoch
        WHERE f.fenced_at IS NOT NULL AND EXISTS (
            SELECT 1 FROM unnest(p_definition, p_version) AS d(name, version)
            WHERE d.name = l.definition AND d.version = l.version)
        LIMIT p_limit
        FOR UPDATE OF l SKIP LOCKED
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
    UPDATE {schema}.live l SET owner = p_epoch, due_at = NULL, standing = 0
    FROM unnest(v_crashed || v_due) AS c(saga) WHERE l.saga_id = c.saga;
    RETURN QUERY
    SELECT s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at),
        c.place <= cardinality(v_crashed), NULL::bigint, NULL::bigint
    FROM unnest(v_crashed || v_due) WITH ORDINALITY AS c(saga, place)
    JOIN {schema}.saga s ON s.saga_id = c.saga;
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

-- Claims one saga that nobody owns. Answers: claimed, crashed, owned (with the owner), ended, missing.
CREATE FUNCTION {schema}.claim_one(p_epoch bigint, p_saga uuid, OUT answer text, OUT owned_by bigint)
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_fenced boolean := false;
BEGIN
    PERFORM {schema}.hold_lease(p_epoch);
    SELECT l.owner INTO owned_by FROM {schema}.live l WHERE l.saga_id = p_saga FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM 1 FROM {schema}.saga s WHERE s.saga_id = p_saga;
        answer := CASE WHEN FOUND THEN 'ended' ELSE 'missing' END;
        RETURN;
    END IF;
    IF owned_by <> p_epoch THEN
        v_fenced := NOT EXISTS (SELECT 1 FROM {schema}.lease f WHERE f.epoch = owned_by AND f.fenced_at IS NULL);
        IF NOT v_fenced THEN
            answer := 'owned';
            RETURN;
        END IF;
    END IF;
    UPDATE {schema}.live l SET owner = p_epoch, due_at = NULL, standing = 0 WHERE l.saga_id = p_saga;
    answer := CASE WHEN v_fenced THEN 'crashed' ELSE 'claimed' END;
END $$;

-- Fences lapsed leases. Waits for appends that are under way under them, but not for ever: a stuck
-- one is tried again at the next round.
CREATE FUNCTION {schema}.fence_lapsed() RETURNS SETOF bigint
LANGUAGE plpgsql
SET lock_timeout = '2s'
AS $$
BEGIN
    -- Leases whose sagas have all been taken over are done with.
    DELETE FROM {schema}.lease f
    WHERE f.fenced_at < clock_timestamp() - interval '1 minute'
        AND NOT EXISTS (SELECT 1 FROM {schema}.live l WHERE l.owner = f.epoch);
    RETURN QUERY
    WITH lapsed AS (
        SELECT f.epoch FROM {schema}.lease f
        WHERE f.fenced_at IS NULL AND f.lease_until < clock_timestamp()
        ORDER BY f.epoch FOR UPDATE
    )
    UPDATE {schema}.lease f SET fenced_at = clock_timestamp() FROM lapsed WHERE f.epoch = lapsed.epoch
    RETURNING f.epoch;
END $$;

-- Hands back all sagas of a lease and ends it.
CREATE FUNCTION {schema}.close_lease(p_epoch bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    v_released bigint;
BEGIN
    PERFORM 1 FROM {schema}.lease WHERE epoch = p_epoch AND fenced_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE {schema}.live SET owner = NULL, due_at = clock_timestamp(), standing = 0 WHERE owner = p_epoch;
    GET DIAGNOSTICS v_released = ROW_COUNT;
    DELETE FROM {schema}.lease WHERE epoch = p_epoch;
    RETURN v_released;
END $$;

CREATE FUNCTION {schema}.load(p_saga uuid[])
RETURNS TABLE (
    saga_id uuid, definition text, version integer, key text, input bytea, created_at bigint,
    seq integer, at bigint, epoch bigint, body text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.saga_id, s.definition, s.version, s.key, s.input, {schema}.micros(s.created_at),
        t.seq, {schema}.micros(t.at), t.epoch, t.body
    FROM unnest(p_saga) WITH ORDINALITY AS i(saga, place)
    JOIN {schema}.saga s ON s.saga_id = i.saga
    JOIN {schema}.turn t ON t.saga_id = i.saga
    ORDER BY i.place, t.seq;
END $$;

-- Deletes sagas that have ended, and messages to sagas that never came.
CREATE FUNCTION {schema}.forget(p_saga uuid[], p_retention bigint) RETURNS bigint
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_saga uuid[];
    v_ended timestamptz[];
BEGIN
    SELECT array_agg(o.saga_id), array_agg(o.ended_at) INTO v_saga, v_ended FROM (
        SELECT e.saga_id, e.ended_at FROM unnest(p_saga) AS i(saga)
        JOIN {schema}.turn t ON t.saga_id = i.saga AND t.ends IS NOT NULL
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

-- Keeps messages until a turn takes them in. Answers for each place: 0 accepted, 1 duplicate, 2 too late.
CREATE FUNCTION {schema}.send(p_definition text[], p_key text[], p_message text[], p_body text[]) RETURNS smallint[]
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    v_answers smallint[] := array_fill(0::smallint, ARRAY[cardinality(p_message)]);
    v_saga uuid;
    v_new bigint;
    v record;
BEGIN
    -- In one order, so that two senders cannot deadlock.
    FOR v IN
        SELECT * FROM unnest(p_definition, p_key, p_message, p_body)
            WITH ORDINALITY AS m(definition, key, message, body, place) ORDER BY definition, key, place
    LOOP
        SELECT s.saga_id INTO v_saga FROM {schema}.saga s WHERE s.definition = v.definition AND s.key = v.key;
        IF v_saga IS NOT NULL THEN
            -- Waits for a turn that is about to park or end the saga.
            PERFORM 1 FROM {schema}.live l WHERE l.saga_id = v_saga FOR UPDATE;
            IF NOT FOUND THEN
                PERFORM 1 FROM {schema}.message m
                WHERE m.definition = v.definition AND m.key = v.key AND m.message_id = v.message;
                v_answers[v.place] := CASE WHEN FOUND THEN 1 ELSE 2 END;
                CONTINUE;
            END IF;
        END IF;
        INSERT INTO {schema}.message (definition, key, message_id, sent_at, body)
        VALUES (v.definition, v.key, v.message, clock_timestamp(), v.body) ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_new = ROW_COUNT;
        IF v_new = 0 THEN
            v_answers[v.place] := 1;
        ELSIF v_saga IS NOT NULL THEN
            UPDATE {schema}.live l SET due_at = clock_timestamp()
            WHERE l.saga_id = v_saga AND l.owner IS NULL AND l.standing <> 4;
        END IF;
    END LOOP;
    RETURN v_answers;
END $$;
