//! What the file system backend promises beyond the contract that all stores keep, one scenario a file.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../storage/child.rs"]
mod child;
#[allow(dead_code)]
#[path = "../storage/enveloped.rs"]
mod enveloped;
mod files;
mod shim;
#[allow(dead_code)]
#[path = "../storage/support.rs"]
mod support;

mod a_fault_leaves_old_or_new;
#[cfg(unix)]
mod a_full_disk_fails_the_commit_alone;
mod a_killed_process_loses_no_commit;
mod a_start_deletes_orphans_and_nothing_else;
mod any_thread_may_call;
mod damage_is_refused_by_name;
mod deleting_leaves_nothing_of_ours;
mod deleting_one_checkpoint;
mod going_back_from_damage;
mod looking_disturbs_nobody;
mod newer_and_foreign_state_is_refused;
mod of_two_owners_the_older_is_fenced;
mod places_that_cannot_hold_state_are_explained;
mod space_is_bounded;
