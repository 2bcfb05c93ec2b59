//! One method per operation of the API.

use sextant_model::{ApiTokenId, Cursor, EnrolmentTokenId, NetworkId, NodeId};

use super::{Call, Client, ClientError, Tagged};
use crate::{
    frame::EventPage,
    page::Page,
    resource::{
        api_token::{ApiToken, NewApiToken},
        enrolment::{
            Certificate, CertificateRequest, EnrolRequest, Enrolment, EnrolmentToken,
            NewEnrolmentToken,
        },
        network::{Network, NetworkPatch, NewNetwork},
        node::{Node, NodePatch},
        report::{NodeReport, ReportTaken},
        status::{Health, Status},
    },
};

type Answer<T> = Result<T, ClientError>;

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct PageQuery {
    /// `next_after` of the page before.
    pub after: Option<String>,
    /// Most items; the server's default if absent.
    pub limit: Option<u32>,
}

impl PageQuery {
    pub(super) fn path(&self, path: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(after) = &self.after {
            query.append_pair("after", after);
        }
        if let Some(limit) = self.limit {
            query.append_pair("limit", &limit.to_string());
        }
        format!("{path}?{}", query.finish())
    }
}

impl Client {
    /// `GET /v1/ready`.
    pub async fn ready(&self) -> Answer<Health> {
        Ok(self.send(Call::get("/v1/ready")).await?.value)
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Answer<Status> {
        Ok(self.send(Call::get("/v1/status")).await?.value)
    }

    /// `POST /v1/networks`.
    pub async fn create_network(
        &self,
        new: &NewNetwork,
        key: Option<&str>,
    ) -> Answer<Tagged<Network>> {
        let call = Call::new(http::Method::POST, "/v1/networks");
        self.send(call.body(new).idempotency_key(key)).await
    }

    /// `GET /v1/networks`.
    pub async fn networks(&self, query: &PageQuery) -> Answer<Page<Network>> {
        Ok(self.send(Call::get(query.path("/v1/networks"))).await?.value)
    }

    /// `GET /v1/networks/{id}`.
    pub async fn network(&self, id: NetworkId) -> Answer<Tagged<Network>> {
        self.send(Call::get(format!("/v1/networks/{id}"))).await
    }

    /// `PATCH /v1/networks/{id}`.
    pub async fn patch_network(
        &self,
        id: NetworkId,
        patch: &NetworkPatch,
        etag: &str,
    ) -> Answer<Tagged<Network>> {
        let call = Call::new(http::Method::PATCH, format!("/v1/networks/{id}"));
        self.send(call.body(patch).if_match(Some(etag))).await
    }

    /// `DELETE /v1/networks/{id}`.
    pub async fn delete_network(&self, id: NetworkId, etag: Option<&str>) -> Answer<()> {
        let call = Call::new(http::Method::DELETE, format!("/v1/networks/{id}"));
        self.send_empty(call.if_match(etag)).await
    }

    /// `POST /v1/enrolment-tokens`.
    pub async fn create_enrolment_token(
        &self,
        new: &NewEnrolmentToken,
        key: Option<&str>,
    ) -> Answer<EnrolmentToken> {
        let call = Call::new(http::Method::POST, "/v1/enrolment-tokens");
        Ok(self.send(call.body(new).idempotency_key(key)).await?.value)
    }

    /// `GET /v1/enrolment-tokens`.
    pub async fn enrolment_tokens(&self, query: &PageQuery) -> Answer<Page<EnrolmentToken>> {
        Ok(self.send(Call::get(query.path("/v1/enrolment-tokens"))).await?.value)
    }

    /// `DELETE /v1/enrolment-tokens/{id}`: revokes it.
    pub async fn revoke_enrolment_token(&self, id: EnrolmentTokenId) -> Answer<()> {
        let path = format!("/v1/enrolment-tokens/{id}");
        self.send_empty(Call::new(http::Method::DELETE, path)).await
    }

    /// `POST /v1/api-tokens`.
    pub async fn create_api_token(&self, new: &NewApiToken, key: Option<&str>) -> Answer<ApiToken> {
        let call = Call::new(http::Method::POST, "/v1/api-tokens");
        Ok(self.send(call.body(new).idempotency_key(key)).await?.value)
    }

    /// `GET /v1/api-tokens`.
    pub async fn api_tokens(&self, query: &PageQuery) -> Answer<Page<ApiToken>> {
        Ok(self.send(Call::get(query.path("/v1/api-tokens"))).await?.value)
    }

    /// `DELETE /v1/api-tokens/{id}`: revokes it.
    pub async fn revoke_api_token(&self, id: ApiTokenId) -> Answer<()> {
        let path = format!("/v1/api-tokens/{id}");
        self.send_empty(Call::new(http::Method::DELETE, path)).await
    }

    /// `GET /v1/nodes`.
    pub async fn nodes(&self, query: &PageQuery) -> Answer<Page<Node>> {
        Ok(self.send(Call::get(query.path("/v1/nodes"))).await?.value)
    }

    /// `GET /v1/nodes/{id}`.
    pub async fn node(&self, id: NodeId) -> Answer<Tagged<Node>> {
        self.send(Call::get(format!("/v1/nodes/{id}"))).await
    }

    /// `PATCH /v1/nodes/{id}`.
    pub async fn patch_node(
        &self,
        id: NodeId,
        patch: &NodePatch,
        etag: &str,
    ) -> Answer<Tagged<Node>> {
        let call = Call::new(http::Method::PATCH, format!("/v1/nodes/{id}"));
        self.send(call.body(patch).if_match(Some(etag))).await
    }

    /// `DELETE /v1/nodes/{id}`: starts its leave; answers the node, withdrawn.
    pub async fn remove_node(&self, id: NodeId, etag: Option<&str>) -> Answer<Node> {
        let call = Call::new(http::Method::DELETE, format!("/v1/nodes/{id}"));
        Ok(self.send(call.if_match(etag)).await?.value)
    }

    /// `POST /v1/nodes/{id}/revoke-certificates`.
    pub async fn revoke_node_certificates(&self, id: NodeId) -> Answer<Node> {
        let path = format!("/v1/nodes/{id}/revoke-certificates");
        Ok(self.send(Call::new(http::Method::POST, path).repeatable()).await?.value)
    }

    /// `POST /v1/nodes/{id}/readmit`.
    pub async fn readmit_node(&self, id: NodeId) -> Answer<Node> {
        let path = format!("/v1/nodes/{id}/readmit");
        Ok(self.send(Call::new(http::Method::POST, path).repeatable()).await?.value)
    }

    /// `GET /v1/events`: at most `limit` events after the cursor, from the beginning if absent.
    pub async fn events(&self, after: Option<Cursor>, limit: Option<u32>) -> Answer<EventPage> {
        let query = PageQuery { after: after.map(|cursor| cursor.to_string()), limit };
        Ok(self.send(Call::get(query.path("/v1/events"))).await?.value)
    }

    /// `GET /v1/snapshot`: what the caller may see of the platform now, as a snapshot frame.
    pub async fn snapshot(&self) -> Answer<crate::Frame> {
        Ok(self.send(Call::get("/v1/snapshot").snapshot()).await?.value)
    }

    /// `POST /v1/enrol`.
    pub async fn enrol(&self, request: &EnrolRequest) -> Answer<Enrolment> {
        let call = Call::new(http::Method::POST, "/v1/enrol").repeatable();
        Ok(self.send(call.body(request)).await?.value)
    }

    /// `POST /v1/node/certificate`: a new certificate for the node that asks.
    pub async fn renew_certificate(&self, request: &CertificateRequest) -> Answer<Certificate> {
        let call = Call::new(http::Method::POST, "/v1/node/certificate").repeatable();
        Ok(self.send(call.body(request)).await?.value)
    }

    /// `PATCH /v1/node`: the node that asks says where peers should reach it.
    pub async fn patch_own_node(&self, patch: &NodePatch) -> Answer<Node> {
        let call = Call::new(http::Method::PATCH, "/v1/node").repeatable();
        Ok(self.send(call.body(patch)).await?.value)
    }

    /// `POST /v1/node/report`. Control planes of earlier versions answer without content.
    pub async fn report(&self, report: &NodeReport) -> Answer<Option<ReportTaken>> {
        let call = Call::new(http::Method::POST, "/v1/node/report").repeatable();
        self.send_optional(call.body(report)).await
    }
}
