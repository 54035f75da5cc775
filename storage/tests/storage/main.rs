//! What the stores promise, one scenario a file.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod child;
mod enveloped;
mod flip;
mod support;

mod a_directory_is_open_once;
mod a_failed_store_says_so;
mod a_killed_process_loses_no_commit;
mod a_pinned_checkpoint_stays;
mod an_owner_killed_beside_a_looker;
mod checkpoints_are_retained;
mod contract;
mod delete_takes_only_what_is_ours;
mod deleting_one_checkpoint;
mod flipped_meta_pages_are_never_believed;
mod flipped_tree_pages_are_never_followed;
mod flipped_values_are_never_believed;
mod going_back_from_damage;
mod going_back_is_all_or_nothing;
mod keys_are_looked_up;
mod looking_disturbs_nobody;
mod missing_pieces_are_refused;
mod model;
mod newer_and_foreign_state_is_refused;
mod the_map_grows;
mod the_note_tells_a_crash_from_damage;
mod unusable_paths_are_explained;
