//! The page for people: its files are part of the program.

use fast_qr::{
    QRBuilder,
    convert::{Builder as _, svg::SvgBuilder},
};

/// A file of the page.
pub(crate) struct Asset {
    pub(crate) content_type: &'static str,
    pub(crate) body: &'static [u8],
}

const PAGE: Asset = Asset { content_type: "text/html; charset=utf-8", body: include_bytes!("../assets/page.html") };
const STYLE: Asset = Asset { content_type: "text/css; charset=utf-8", body: include_bytes!("../assets/style.css") };
const SCRIPT: Asset =
    Asset { content_type: "text/javascript; charset=utf-8", body: include_bytes!("../assets/page.js") };
const ICON: Asset = Asset { content_type: "image/svg+xml", body: include_bytes!("../assets/icon.svg") };

/// The file under a path.
pub(crate) fn find(path: &str) -> Option<Asset> {
    match path {
        "/" => Some(PAGE),
        "/assets/style.css" => Some(STYLE),
        "/assets/page.js" => Some(SCRIPT),
        "/assets/icon.svg" | "/favicon.ico" => Some(ICON),
        _ => None,
    }
}

/// A QR code of a text; `None` when it does not fit into one.
pub(crate) fn qr(text: &str) -> Option<String> {
    let code = QRBuilder::new(text).build().ok()?;
    Some(SvgBuilder::default().margin(2).to_str(&code))
}
