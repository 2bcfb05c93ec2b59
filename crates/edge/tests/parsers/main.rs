//! The parsers of the edge against bytes of real programs, against another parser, and against
//! mutations of both.
//!
//! `SEXTANT_FUZZ_SECONDS=60` lets each mutation test run that long instead of a fixed number of
//! inputs, and `SEXTANT_FUZZ_SEED` begins elsewhere.

mod corpus;
mod differential;
mod fuzz;
mod mutation;
mod recorded;
mod rustls_oracle;
