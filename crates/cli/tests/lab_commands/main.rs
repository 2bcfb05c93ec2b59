//! The commands against a whole platform in a lab. Needs root or user namespaces, and the programs
//! of the workspace beside this one.

mod desk;
mod ingress;
mod platform;
mod tenancy;
