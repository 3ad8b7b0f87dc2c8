"""Tools over MCP: discovery, execution, approvals. Not built yet; the label is reserved for its migrations."""
