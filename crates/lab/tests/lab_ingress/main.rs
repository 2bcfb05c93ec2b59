//! Edges and workloads in a lab: from a name to the process that answers, and what that survives.
//! Needs root or user namespaces, curl, openssl, HAProxy and nginx, and the programs of the
//! workspace beside this one.

mod boundary;
mod changes;
mod fixture;
mod passthrough;
mod proxy_protocol;
mod survival;
mod workload_address;
