-- One plan for all calls. Left to itself, Postgres makes a plan for the very values of a call wherever that looks
-- cheaper, and with short arrays it always does: each call with one to four turns then planned all its statements anew,
-- which took more than everything else that it did. There is nothing to gain by it: these functions go by the same
-- indexes whatever the values are. (Whoever replaces one of them has to say this again.)

ALTER FUNCTION {schema}.start(bigint, uuid[], text[], integer[], text[], bytea[], bigint[], text[])
    SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.append(
    bigint, uuid[], integer[], bigint[], smallint[], text[], uuid[], bigint[], smallint[])
    SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.append_with_events(
    bigint, uuid[], integer[], bigint[], smallint[], text[], uuid[], bigint[], smallint[],
    integer[], integer[], text[], text[], text[], text[])
    SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.append_with_effects(
    bigint, uuid, integer, bigint, smallint, text, boolean, bigint, smallint,
    integer[], text[], text[], text[], text[], json)
    SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.claim(bigint, text[], integer[], integer) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.claim_one(bigint, uuid) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.load(uuid[]) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.send(text[], text[], text[], text[]) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.settle(bigint, text[], text[], bigint[], text[], text[], text[])
    SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION {schema}.grant_locks(text[]) SET plan_cache_mode = force_generic_plan;
