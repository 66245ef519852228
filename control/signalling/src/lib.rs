//! SIP and SDP without I/O: bytes in, bytes out, time in.
//!
//! The message level reads and writes; the stack on top of it has the transactions and dialogs.
//!
//! ```
//! use tandem_signalling::build::MessageBuilder;
//! use tandem_signalling::header::Header;
//! use tandem_signalling::message::{Message, validate_request};
//! use tandem_signalling::method::Method;
//!
//! let request = Message::parse(
//!     b"OPTIONS sip:bob@example.com SIP/2.0\r\n\
//!       Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK77a\r\n\
//!       Max-Forwards: 70\r\n\
//!       f: \"Alice, A.\" <sip:alice@example.com>;tag=1928\r\n\
//!       t: <sip:bob@example.com>\r\n\
//!       i: a84b4c76e66710@192.0.2.1\r\n\
//!       CSeq: 7 OPTIONS\r\n\
//!       Supported: 100rel, path\r\n\
//!       Supported: gruu\r\n\
//!       Content-Length: 0\r\n\r\n",
//! )?;
//! validate_request(&request).expect("this one is fine");
//! assert_eq!(request.method(), Method::Options);
//! assert_eq!(request.call_id(), Some("a84b4c76e66710@192.0.2.1"));
//! assert_eq!(request.from()?.uri().user(), Some("alice"));
//! assert_eq!(request.from()?.tag(), Some("1928"));
//! assert_eq!(request.top_via()?.branch(), Some("z9hG4bK77a"));
//! let supported: Vec<_> = request.tokens(Header::Supported).collect();
//! assert_eq!(supported, ["100rel", "path", "gruu"]);
//!
//! let response = MessageBuilder::response_to(&request, 200, "")
//!     .to_tag("314159")
//!     .header(Header::Allow, "INVITE, ACK, CANCEL, BYE, OPTIONS")
//!     .header("X-Trunk", "7")
//!     .finish()?;
//! assert_eq!((response.status(), response.reason()), (Some(200), Some("OK")));
//! assert!(response.bytes().ends_with(b"X-Trunk: 7\r\nContent-Length: 0\r\n\r\n"));
//!
//! // Passing a message on: unknown headers and the order of all stay.
//! let onward = MessageBuilder::edit(&request)
//!     .request_uri("sip:bob@192.0.2.9")
//!     .set(Header::MaxForwards, "69")
//!     .prepend_via("SIP/2.0/UDP 192.0.2.5;branch=z9hG4bK88b")
//!     .finish()?;
//! assert_eq!(onward.vias().count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod build;
pub mod digest;
pub mod error;
pub mod framing;
pub mod header;
pub mod limits;
pub mod locate;
pub mod message;
pub mod method;
pub mod name_addr;
pub mod sdp;
pub mod stack;
pub mod text;
pub mod uri;
pub mod via;
