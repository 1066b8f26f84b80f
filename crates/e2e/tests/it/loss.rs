//! Killed processes and lost Redis.
