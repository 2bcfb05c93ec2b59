//! The resources of the API, one file each, with the bodies of the requests that change them.

pub mod api_token;
pub mod enrolment;
pub mod network;
pub mod node;
pub mod report;
pub mod status;
