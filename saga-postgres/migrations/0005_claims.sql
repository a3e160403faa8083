-- Claims go from each lease that is gone to its sagas. Left to itself the planner may go the other way about, through
-- all sagas that are in flight anywhere.

-- Claims what is due and what fenced leases have left. The row without a saga tells when the next
-- one is due, and the time.
CREATE OR REPLACE FUNCTION {schema}.claim(p_epoch bigint, p_definition text[], p_version integer[], p_limit integer)
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
