//! Makes the SDK's client: endpoint, region, credentials, TLS.
//!
//! Receives [`Access`] from whoever asks a store, hands back a client and the endpoint's name for
//! messages. Invariant: credentials come from the SDK's default chain alone.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use millstream_protocol::access::Access;

/// For a connection and its TLS handshake. A lost SYN is sent again after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The region where nothing names one: that of AWS's own global endpoint, and what other stores
/// commonly take.
const REGION_DEFAULT: &str = "us-east-1";

/// The client, and the endpoint as messages name it.
pub async fn connect(loader: ConfigLoader, access: &Access) -> (Client, String) {
    let config = loader.load().await;
    let endpoint = config.endpoint_url().map(str::to_owned);
    let region = config.region().map_or(REGION_DEFAULT, |region| region.as_ref());
    // Stores other than AWS seldom have a name in DNS for each bucket.
    let path_style = access.path_style.unwrap_or(endpoint.is_some());
    let named = endpoint.unwrap_or_else(|| format!("AWS S3 in {region}"));
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style).build();
    (Client::from_conf(config), named)
}

/// What the SDK is told, but for credentials, which it finds by itself.
pub async fn loader(access: &Access) -> ConfigLoader {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let region = region(access, &http).await;
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        // `crate::repeat` repeats, and bounds bodies too.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Bodies are signed and parts have checksums of their own; many stores know no others.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .region(region);
    if let Some(endpoint) = &access.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader
}

async fn region(access: &Access, http: &SharedHttpClient) -> Option<Region> {
    let mut chain = RegionProviderChain::first_try(access.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    if access.endpoint.is_none() {
        // Takes seconds to fail outside AWS, where an endpoint is named.
        let provider = ProviderConfig::default().with_http_client(http.clone());
        chain = chain.or_else(ImdsRegionProvider::builder().configure(&provider).build());
    }
    chain.or_else(Region::new(REGION_DEFAULT)).region().await
}
