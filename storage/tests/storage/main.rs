//! What the stores promise, one scenario a file.

mod support;

mod contract;
