//! The resources of the API, one file each, with the bodies of the requests that change them.

pub mod api_token;
pub mod app;
pub mod edge;
pub mod enrolment;
pub mod environment;
pub mod health;
pub mod hostname;
pub mod network;
pub mod node;
pub mod org;
pub mod port;
pub mod refusal;
pub mod release;
pub mod report;
pub mod route;
pub mod standing;
pub mod status;
pub mod workload;
