"""The server-rendered pages: complete without JavaScript, then enhanced."""
