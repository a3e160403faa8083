//! The journal contract suite: one async function for each promise, numbered as in the
//! documentation of [`saga_core::journal`], to be run against any journal by
//! [`journal_contract!`](crate::journal_contract).

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests, by nature")]

pub mod append;
pub mod claim;
pub mod fence;
pub mod lease;
pub mod letters;
pub mod locks;
pub mod messages;
pub mod oracle;
pub mod outbox;
pub mod reading;
pub mod start;
mod support;
pub mod sweep;
pub mod turns;

use std::time::Duration;

use async_trait::async_trait;
use saga_core::journal::Journal;

pub use support::new_saga;

/// How the suite gets at a journal.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The journal under test.
    type Journal: Journal;

    /// An empty journal.
    async fn fresh(&self) -> Self::Journal;

    /// A second journal on the same storage, as another process would have.
    async fn reopen(&self, journal: &Self::Journal) -> Self::Journal;

    /// Lets the journal's clock go on: virtually where it can be, otherwise by waiting. The suite
    /// asks for some hundred milliseconds at a time.
    async fn pass(&self, by: Duration);
}

/// Declares one `#[tokio::test]` for each promise of the contract. Arguments after the fixture are
/// handed to `tokio::test`.
#[macro_export]
macro_rules! journal_contract {
    ($fixture:expr $(, $args:tt = $value:expr)*) => {
        $crate::journal_contract!(@tests ($fixture) [$($args = $value),*]
            start::j1_what_was_started_is_there_for_everybody
            start::j2_a_key_has_one_saga
            start::j2_starting_again_under_the_same_id_is_the_same_start
            start::j2_one_saga_twice_in_one_call_is_started_once
            start::j2_an_id_that_another_key_has_is_refused
            start::j2_sagas_of_one_call_do_not_affect_each_other
            start::j2_many_concurrent_starts_make_one_saga
            lease::j3_epochs_only_grow
            lease::j3_a_closed_lease_hands_its_sagas_back_at_once
            lease::j3_a_lapsed_lease_that_nobody_fenced_can_be_renewed
            fence::j4_only_lapsed_leases_are_fenced
            fence::j4_a_fenced_lease_can_do_nothing
            fence::j4_a_takeover_sees_every_append_that_went_in
            append::j5_the_same_turn_again_is_recognised
            append::j5_another_turn_in_its_place_is_a_rivals
            append::j5_a_gap_or_a_strangers_saga_is_refused
            append::j5_a_rivals_turn_does_not_disturb_its_batch
            append::j5_one_of_many_concurrent_appends_is_written
            append::j6_a_thousand_turns_go_in_at_once
            append::j6_texts_come_back_as_they_were
            append::j7_sending_a_park_again_does_not_undo_a_later_claim
            claim::j8_claims_are_disjoint_and_complete
            claim::j8_a_parked_saga_is_claimed_when_it_is_due
            claim::j8_only_known_definitions_are_claimed
            claim::j8_a_saga_that_waits_for_a_human_is_claimed_by_name_alone
            claim::j8_owned_tells_what_a_lost_claim_brought
            reading::j9_histories_are_whole_and_in_order
            reading::j9_summaries_tell_where_a_saga_stands
            reading::j9_sagas_are_listed_newest_first_by_what_is_asked_for
            reading::j9_sagas_are_found_by_when_they_were_created
            reading::j9_sagas_are_found_by_what_their_history_mentions
            letters::j10_a_dead_letter_opens_and_closes_with_its_turn
            letters::j10_an_alert_is_handed_out_until_it_is_acknowledged
            letters::j11_the_first_outline_stays
            letters::j12_only_what_has_ended_long_ago_is_deleted
            letters::j12_only_what_has_ended_is_forgotten
            messages::j13_a_message_is_handed_out_until_a_turn_has_read_it
            messages::j13_an_early_message_waits_for_its_saga
            messages::j13_a_parked_saga_with_a_message_is_due_at_once
            messages::j13_no_message_is_lost_between_parking_and_sending
            messages::j13_a_message_to_a_saga_that_is_over_is_too_late
            messages::j13_messages_wait_with_a_saga_that_was_set_aside
            messages::j13_a_saga_with_an_unread_message_does_not_end
            messages::j13_a_rivals_end_is_a_rivals_also_while_a_message_is_unread
            messages::j13_a_message_is_read_or_too_late
            outbox::j14_an_event_is_there_if_and_only_if_its_turn_is
            outbox::j14_events_of_a_saga_keep_their_order_over_a_takeover
            outbox::j14_events_wait_for_earlier_ones_that_another_lease_has
            outbox::j14_what_a_closed_lease_has_left_goes_to_the_next_that_asks
            outbox::j14_an_event_to_be_tried_again_holds_back_its_own_saga_alone
            outbox::j14_a_dead_event_waits_for_a_human_and_holds_up_nothing
            outbox::j14_a_dead_event_outlives_its_lease
            outbox::j14_a_fenced_lease_settles_nothing_of_what_is_anothers
            outbox::j14_events_outlive_their_sagas
            outbox::j14_events_come_once_and_in_order_through_many_workers
            locks::j15_a_lock_goes_round_in_the_order_of_asking
            locks::j15_overlapping_sets_are_given_whole_and_in_order
            locks::j15_who_gives_up_waiting_leaves_all_lines
            locks::j15_a_grant_is_handed_out_until_a_turn_has_read_it
            locks::j15_a_parked_saga_is_due_when_it_has_its_locks
            locks::j15_asking_again_changes_nothing
            locks::j15_a_turn_that_is_not_written_changes_no_lock
            locks::j15_a_saga_that_is_over_stands_in_no_line
            locks::j15_random_overlapping_sets_all_get_their_turn
            turns::j16_what_a_written_turn_starts_and_sends_is_there_once
            turns::j16_a_turn_that_is_not_written_starts_and_sends_nothing
            turns::j16_a_saga_that_exists_is_left_as_it_is
            turns::j16_a_message_of_a_turn_wakes_is_known_or_comes_too_late
            turns::j16_a_turn_that_ends_its_saga_starts_and_sends_as_well
            oracle::every_answer_is_the_models
            sweep::every_call_lost_before_after_and_cancelled
        );
    };
    (@tests ($fixture:expr) $args:tt $($topic:ident :: $name:ident)*) => {
        $($crate::journal_contract!(@test ($fixture) $args $topic $name);)*
    };
    (@test ($fixture:expr) [$($args:tt = $value:expr),*] $topic:ident $name:ident) => {
        #[tokio::test($($args = $value),*)]
        async fn $name() {
            $crate::contract::$topic::$name(&$fixture).await;
        }
    };
}
