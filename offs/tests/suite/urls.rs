//! URLs of the golden vectors.

use offs::{OffUrl, OffUrlError};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../fixtures/vectors/urls.json")).expect("JSON")
}

#[test]
fn good_urls_are_read() {
    for vector in vectors()["good"].as_array().expect("list") {
        let text = vector["url"].as_str().expect("text");
        let url: OffUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(url.content_type.as_str(), vector["type"].as_str().expect("text"), "{text}");
        assert_eq!(Some(url.length), vector["length"].as_u64(), "{text}");
        assert_eq!(url.reference.key.is_some(), vector["sealed"].as_bool().expect("bool"), "{text}");
        assert_eq!(url.reference.root.to_string(), vector["root"].as_str().expect("text"), "{text}");
        assert_eq!(url.name.as_deref().unwrap_or_default(), vector["name"].as_str().unwrap_or_default(), "{text}");
        let path: Vec<_> =
            vector["path"].as_array().expect("list").iter().map(|part| part.as_str().expect("hex")).collect();
        assert_eq!(url.path.iter().map(hex::encode).collect::<Vec<_>>(), path, "{text}");
        assert_eq!(url.to_string().parse::<OffUrl>(), Ok(url), "{text}");
    }
}

#[test]
fn bad_urls_are_refused_and_old_ones_named() {
    for vector in vectors()["bad"].as_array().expect("list") {
        let text = vector["url"].as_str().expect("text");
        let reason = &vector["reason"];
        let Err(error) = text.parse::<OffUrl>() else { panic!("{text} was accepted ({reason})") };
        assert_eq!(error == OffUrlError::Version2, vector["version"] == 2, "{text}");
        assert_eq!(error == OffUrlError::Version3, vector["version"] == 3, "{text}");
    }
}
