//! Any text as an OFF URL: what is one comes back from both of its written forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offs::OffUrl;

fuzz_target!(|text: &str| {
    let Ok(url) = text.parse::<OffUrl>() else { return };
    let written = url.to_string();
    assert_eq!(written.parse::<OffUrl>().as_ref(), Ok(&url), "{written}");
    let written = url.to_http("localhost:23402");
    assert_eq!(written.parse::<OffUrl>().as_ref(), Ok(&url), "{written}");
    let without = url.without_path();
    assert_eq!(without.to_string().parse::<OffUrl>().as_ref(), Ok(&without));

    assert!(url.length <= 1 << 60);
    assert!(url.path.is_empty() || url.content_type.is_directory());
    if let Some(name) = &url.name {
        assert!((1..=1024).contains(&name.len()) && !name.contains(['/', '\0']) && name != "." && name != "..");
    }
    for component in &url.path {
        assert!((1..=255).contains(&component.len()) && component != b"." && component != b"..");
        assert!(!component.contains(&b'/') && !component.contains(&0));
    }
});
