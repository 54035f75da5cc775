//! Runs the file system backend against servers: a real S3 server on the loopback interface, and a real HDFS.
//!
//! ```text
//! cargo test -p cofferdam-remote-tests --features s3
//! remote_tests/hdfs.sh
//! ```
