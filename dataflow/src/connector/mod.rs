//! Connectors: sources and sinks that Millstream brings, a file or folder each.
