//! The router: one file per resource, and what every request goes through.

mod api_tokens;
mod apps;
mod edges;
mod enrol;
mod enrolment_tokens;
mod environments;
mod events;
mod filled;
mod health;
mod hostnames;
mod networks;
mod node;
mod nodes;
mod orgs;
mod ports;
mod releases;
mod routes;
mod standing;
mod status;
mod stream;
mod workloads;

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::HttpBody,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use sextant_api::{BODY_LIMIT, Frame, Problem, frame::SnapshotState};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    error::{ApiError, Logged, problem_response},
};

/// So much of a body that is too large is read and thrown away before the answer.
const DISCARD_LIMIT: usize = 1024 * 1024;
/// No answer takes longer; streams are not answers.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sextant",
        description = "The control plane of Sextant. Errors are RFC 9457 problems with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem, Frame, SnapshotState)),
    modifiers(&Security),
    security(("api-token" = []), ("node-certificate" = []))
)]
struct Description;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = api.components.get_or_insert_default();
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("an operator's API token, sxa_…"))
            .build();
        components.add_security_scheme("api-token", SecurityScheme::Http(bearer));
        let certificate = SecurityScheme::MutualTls {
            description: Some("a node's client certificate".into()),
            extensions: None,
            deprecated: None,
        };
        components.add_security_scheme("node-certificate", certificate);
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(networks::create, networks::list))
        .routes(routes!(networks::read, networks::rename, networks::delete))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::read, nodes::patch, nodes::remove))
        .routes(routes!(nodes::revoke_certificates))
        .routes(routes!(nodes::readmit))
        .routes(routes!(enrolment_tokens::create, enrolment_tokens::list))
        .routes(routes!(enrolment_tokens::read, enrolment_tokens::revoke))
        .routes(routes!(api_tokens::create, api_tokens::list))
        .routes(routes!(api_tokens::read, api_tokens::revoke))
        .routes(routes!(orgs::create, orgs::list))
        .routes(routes!(orgs::read, orgs::delete))
        .routes(routes!(apps::create, apps::list))
        .routes(routes!(apps::read, apps::delete))
        .routes(routes!(environments::create, environments::list))
        .routes(routes!(environments::read, environments::delete))
        .routes(routes!(releases::deploy, releases::list))
        .routes(routes!(releases::read))
        .routes(routes!(workloads::register))
        .routes(routes!(workloads::list))
        .routes(routes!(workloads::read, workloads::remove))
        .routes(routes!(workloads::set_health))
        .routes(routes!(hostnames::claim, hostnames::list))
        .routes(routes!(hostnames::release))
        .routes(routes!(hostnames::verify))
        .routes(routes!(hostnames::transfer))
        .routes(routes!(ports::read_policy, ports::set_policy))
        .routes(routes!(ports::grant, ports::list_grants))
        .routes(routes!(ports::revoke_grant))
        .routes(routes!(routes::create))
        .routes(routes!(routes::list))
        .routes(routes!(routes::explain::explain))
        .routes(routes!(routes::read, routes::patch, routes::delete))
        .routes(routes!(edges::list))
        .routes(routes!(edges::report))
        .routes(routes!(enrol::enrol))
        .routes(routes!(node::patch))
        .routes(routes!(node::renew_certificate))
        .routes(routes!(node::report))
        .routes(routes!(standing::standing))
        .routes(routes!(events::list))
        .routes(routes!(events::snapshot))
        .routes(routes!(stream::stream))
        .routes(routes!(status::status))
}

/// A resource with its version as the `ETag`.
fn tagged(version: i32, resource: impl serde::Serialize) -> Response {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = format!("\"{version}\"").parse() {
        headers.insert(header::ETAG, etag);
    }
    (headers, axum::Json(resource)).into_response()
}

/// The OpenAPI document, generated from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Everything the replica answers.
pub fn router(app: App) -> Router {
    let (router, description) = routes().split_for_parts();
    let document = serde_json::to_value(&description).unwrap_or_default();
    router
        .route(
            "/v1/openapi.json",
            axum::routing::get(move || std::future::ready(axum::Json(document.clone()))),
        )
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::NoSuchMethod)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Gives the request an id and a time limit, and the log one line about it.
async fn observe(
    State(app): State<App>,
    path: Option<MatchedPath>,
    method: Method,
    uri: Uri,
    request: Request,
    next: Next,
) -> Response {
    let id = app.id().simple().to_string();
    let started = Instant::now();
    let answer = async {
        if let Err(error) = filled::check(&app, request.uri()) {
            // The body is read all the same, so that the answer arrives.
            let _ = buffered(request).await;
            return error.into_response();
        }
        match buffered(request).await {
            Ok(request) => next.run(request).await,
            Err(error) => error.into_response(),
        }
    };
    let mut response = match tokio::time::timeout(REQUEST_LIMIT, answer).await {
        Ok(response) => response,
        Err(_) if method.is_safe() => ApiError::Busy.into_response(),
        Err(_) => ApiError::TimeUp.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    let logged = response.extensions_mut().remove::<Logged>();
    let status = response.status();
    let route = path.as_ref().map_or(uri.path(), MatchedPath::as_str);
    let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    let code = logged.as_ref().map_or("", |logged| logged.code.as_str());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        let error = logged.as_ref().map_or("", |logged| logged.internal.as_str());
        tracing::error!(request_id = id, %method, route, error, "a request failed");
    } else if status.is_server_error() {
        let error = logged.as_ref().map_or("", |logged| logged.internal.as_str());
        // Once per outage is the tail's to say; per request would be noise.
        tracing::debug!(request_id = id, %method, route, status = status.as_u16(), code, error, "a request was put off");
    } else {
        tracing::debug!(request_id = id, %method, route, status = status.as_u16(), code, elapsed_ms, "request");
    }
    match logged {
        Some(_) => with_request_id(response, id).await,
        None => response,
    }
}

/// The request with its body read. An answer that is sent while the client is still writing is
/// often lost with the connection, so refusals too wait for the body, within bounds.
async fn buffered(request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, body));
    }
    let mut chunks = body.into_data_stream();
    let (mut kept, mut read) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
        read += chunk.len();
        if read <= BODY_LIMIT {
            kept.extend_from_slice(&chunk);
        } else if read > DISCARD_LIMIT {
            break;
        }
    }
    if read > BODY_LIMIT {
        return Err(ApiError::TooLarge);
    }
    Ok(Request::from_parts(parts, kept.into()))
}

/// Problems carry the request's id, so that a user's report can be found in the log.
async fn with_request_id(response: Response, id: String) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return parts.status.into_response();
    };
    let Ok(mut problem) = serde_json::from_slice::<Problem>(&bytes) else {
        return Response::from_parts(parts, bytes.into());
    };
    problem.request_id = Some(id);
    let mut renewed = problem_response(&problem);
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH {
            renewed.headers_mut().insert(name.clone(), value.clone());
        }
    }
    renewed
}
