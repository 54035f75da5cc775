//! Keeps Cofferdam's checkpoints.
