"""The engine: starts replies, runs them, keeps their log, lets anyone follow, stops them, takes up what was lost."""
