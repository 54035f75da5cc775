//! Simulation and failure injection.
