"""Sockets: Channels consumers and their routing. A socket only watches and asks; replies belong to the server."""
