"""What people do in Parley: chats, messages, replies, and the rooms that serve them."""
