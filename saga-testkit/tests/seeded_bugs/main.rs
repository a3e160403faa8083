//! The tests can fail: each bug that is built into the engine on purpose is found by a test that passes without it.
//!
//! `cargo test -p saga-testkit --features seeded-bugs --test seeded_bugs`. The list is `reliability/seeded_bugs.md`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod journals;
mod sagas;
mod swarms;

use saga_testkit::seeded::assert_caught;

/// A test for each bug: it is found by that scenario, which then says this.
macro_rules! caught {
    ($($name:ident: $bug:literal by $scenario:path, $shows:literal;)*) => {
        $(
            #[test]
            fn $name() {
                // It is there: a scenario that is renamed does not compile here.
                let _ = $scenario;
                assert_caught($bug, stringify!($scenario).replace(' ', "").as_str(), $shows);
            }
        )*
    };
}

caught! {
    only_what_is_done_is_undone_is_caught: "M1" by sagas::all_goes_back, "what may have happened is undone";
    a_key_for_each_attempt_is_caught: "M2" by sagas::all_goes_back, "happened 2 times";
    an_attempt_that_counts_at_its_end_is_caught: "M3" by sagas::a_step_that_kills_its_workers_is_set_aside, "nobody was told";
    a_stale_append_is_caught: "M4" by journals::a_fenced_lease_can_do_nothing, "panicked";
    a_stale_relay_is_caught: "M5" by journals::events_are_one_leases, "panicked";
    a_swallowed_error_of_a_compensation_is_caught: "M6" by sagas::all_goes_back, "all or nothing";
    an_event_that_is_sent_off_before_it_is_published_is_caught: "M7" by sagas::events_arrive, "were published";
    an_event_that_the_relay_has_passed_is_caught: "M8" by sagas::events_arrive, "were published";
    a_deadline_over_compensations_is_caught: "M9" by sagas::compensations_know_no_deadline, "try again";
    a_lock_that_ends_when_a_human_is_called_is_caught: "M10" by sagas::locks_are_kept_for_a_human, "the lock is gone";
    a_lock_that_ends_with_its_worker_is_caught: "M11" by sagas::locks_outlive_workers, "the lock is gone";
    a_signal_that_is_taken_too_soon_is_caught: "M13" by sagas::signals_are_taken_once, "v1:";
    a_late_signal_that_is_dropped_is_caught: "M14" by sagas::signals_are_taken_once, "v1:signal:paid#1=too-late";
    a_time_out_that_counts_as_a_refusal_is_caught: "M15" by sagas::one_attempt_alone_goes_back, "timed-out";
    a_key_that_is_used_for_too_long_is_caught: "M19" by sagas::a_key_is_not_used_past_its_time, "happened 2 times";
    a_blind_repetition_of_a_commit_is_caught: "M21" by journals::the_same_turn_again_is_known, "panicked";
    compensations_side_by_side_are_caught: "M23" by sagas::all_goes_back, "compensations in reverse order";
    a_changed_definition_is_caught: "M24" by journals::a_changed_definition_is_refused, "it opened";
    a_new_key_without_proof_is_caught: "M25" by sagas::a_new_key_needs_proof, "v1:";
    a_claim_that_nobody_knows_of_is_caught: "M26" by swarms::every_claim_is_known, "after the last fault";
    an_end_that_nobody_wrote_is_caught: "M27" by swarms::what_callers_are_told_holds, "somebody was told";
}
