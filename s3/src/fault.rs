//! [`Fault`]: what came of a request that failed, and what follows from that.
//!
//! Made from the SDK's errors by whoever asks a store, judged by [`crate::repeat`], and put into
//! [`Words`] that its user knows. Pure. Invariant: a request that may have been carried out is
//! never said not to have been.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStreamError;
use millstream_protocol::error_kind::ErrorKind as Kind;

/// How messages call what their reader can change.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Where the bucket is named.
    pub address: &'static str,
    /// Where all is said that a client is made of.
    pub settings: &'static str,
    /// Where the endpoint is named.
    pub endpoint: &'static str,
    /// Where the region is named.
    pub region: &'static str,
    /// What the bucket must allow.
    pub actions: &'static str,
    /// What the store must be able to do, behind "lacks what".
    pub needs: &'static str,
}

/// A request that failed.
#[derive(Debug)]
pub struct Fault {
    what: What,
    /// The innermost cause, in the words of whoever found it.
    text: String,
}

#[derive(Debug)]
enum What {
    /// It cannot be made from what we were given.
    Unmade,
    /// Nobody had credentials to sign it with.
    NoCredentials,
    /// Credentials exist, and could not be fetched this time.
    CredentialsUnread,
    /// No connection, no answer, or half of one.
    Unanswered,
    /// What is to be sent cannot be read.
    Unread,
    /// The store said no.
    Refused { status: u16, code: String },
}

impl<E> From<SdkError<E>> for Fault
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        if let SdkError::ServiceError(refused) = &error {
            let code = refused.err().code().unwrap_or_default().to_owned();
            let text = refused.err().message().unwrap_or_default().to_owned();
            let what = What::Refused { status: refused.raw().status().as_u16(), code };
            return Self { what, text };
        }
        let what = match credentials(&error) {
            Some(CredentialsError::CredentialsNotLoaded(_)) => What::NoCredentials,
            Some(_) => What::CredentialsUnread,
            None if matches!(error, SdkError::ConstructionFailure(_)) => What::Unmade,
            None => What::Unanswered,
        };
        Self { what, text: innermost(&error) }
    }
}

impl From<ByteStreamError> for Fault {
    fn from(error: ByteStreamError) -> Self {
        Self { what: What::Unanswered, text: innermost(&error) }
    }
}

fn credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// An error's causes, itself first.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map_or_else(String::new, ToString::to_string)
}

/// Codes that another attempt may not meet although the status says that the request is wrong:
/// two conditional writes at once, a body that was damaged on its way, a clock that the SDK has
/// learned to correct by the answer.
const PASSING: [&str; 6] = [
    "ConditionalRequestConflict",
    "OperationAborted",
    "RequestTimeout",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "RequestTimeTooSkewed",
];

impl Fault {
    /// An attempt that was cut off after so long.
    pub fn late(after: Duration) -> Self {
        Self { what: What::Unanswered, text: format!("no answer within {after:?}") }
    }

    /// An answer that says success and cannot be one.
    pub fn odd(text: &str) -> Self {
        Self { what: What::Unanswered, text: format!("it answered with {text}") }
    }

    /// What is to be sent cannot be read, here.
    pub fn unread(text: String) -> Self {
        Self { what: What::Unread, text }
    }

    /// The innermost cause, in the words of whoever found it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn refused(&self) -> Option<(u16, &str)> {
        match &self.what {
            What::Refused { status, code } => Some((*status, code)),
            _ => None,
        }
    }

    /// The object is not there. A HEAD has no body to say so with.
    pub fn is_missing(&self) -> bool {
        matches!(self.refused(), Some((404, "NoSuchKey" | "NotFound" | "")))
    }

    /// The condition of a conditional write did not hold: the object is there.
    pub fn is_taken(&self) -> bool {
        matches!(self.refused(), Some((412, _)))
    }

    /// The range begins behind the object's end.
    pub fn is_beyond_end(&self) -> bool {
        matches!(self.refused(), Some((416, _)))
    }

    /// The upload in pieces is not there: completed, or given up.
    pub fn is_upload_gone(&self) -> bool {
        matches!(self.refused(), Some((404, "NoSuchUpload")))
    }

    /// Whether another attempt may fare better.
    pub fn passes(&self) -> bool {
        match self.what {
            What::Unmade | What::NoCredentials | What::Unread => false,
            What::CredentialsUnread | What::Unanswered => true,
            What::Refused { status, ref code } => {
                matches!(status, 408 | 429 | 500 | 502..=599) || PASSING.contains(&&**code)
            }
        }
    }

    /// Whether the store may have carried the request out all the same.
    pub fn is_unsure(&self) -> bool {
        match self.what {
            What::Unmade | What::NoCredentials | What::CredentialsUnread | What::Unread => false,
            What::Unanswered => true,
            What::Refused { status, .. } => status >= 500,
        }
    }

    /// What kind of failure it is, and what to do about it.
    pub fn explain(&self, bucket: &str, endpoint: &str, words: &Words) -> (Kind, String) {
        let text = &self.text;
        match &self.what {
            What::Unmade => (Kind::Invalid, format!("{text}: correct {}", words.settings)),
            What::NoCredentials => (
                Kind::Invalid,
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 give the process a profile or a role"
                    .to_owned(),
            ),
            What::Unread => (Kind::Unavailable, text.clone()),
            What::CredentialsUnread => {
                (Kind::Unavailable, format!("cannot get credentials: {text}"))
            }
            What::Unanswered => (
                Kind::Unavailable,
                format!(
                    "{endpoint} does not answer: {text}; check that it runs, the network, and {}",
                    words.endpoint
                ),
            ),
            What::Refused { status, code } => {
                let (kind, advice) = advice(*status, code, (bucket, endpoint), words);
                let code = if code.is_empty() { "no reason given" } else { code };
                let said = if text.is_empty() { String::new() } else { format!(", {text}") };
                (kind, format!("{advice} ({status} {code}{said})"))
            }
        }
    }
}

/// What a refusal means to the reader.
fn advice(status: u16, code: &str, at: (&str, &str), words: &Words) -> (Kind, String) {
    let (bucket, endpoint) = at;
    let invalid = |words: &str| (Kind::Invalid, words.to_owned());
    match (status, code) {
        (_, "NoSuchBucket") => {
            let missing = format!("{endpoint} has no bucket {bucket}: create it, or correct");
            (Kind::Invalid, format!("{missing} {}", words.address))
        }
        (_, "InvalidAccessKeyId") => invalid(
            "the store does not know the access key: check AWS_ACCESS_KEY_ID or the profile",
        ),
        (_, "SignatureDoesNotMatch") => invalid(
            "the secret key does not fit its access key: check AWS_SECRET_ACCESS_KEY or profile",
        ),
        (_, "RequestTimeTooSkewed") => {
            (Kind::Unavailable, "the clock of this machine is wrong: set it".to_owned())
        }
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            (Kind::Unavailable, "the credentials have expired: renew them".to_owned())
        }
        (301 | 307, _) | (_, "AuthorizationHeaderMalformed") => {
            invalid(&format!("the bucket is in another region: correct {}", words.region))
        }
        (501, _) | (_, "NotImplemented") => {
            invalid(&format!("the store lacks what {}", words.needs))
        }
        (401 | 403, _) => invalid(&format!("access denied: allow {}", words.actions)),
        (400..=499, _) if !matches!(status, 408 | 429) => (Kind::Unavailable, "refused".to_owned()),
        _ => (Kind::Unavailable, format!("{endpoint} is out of order")),
    }
}
