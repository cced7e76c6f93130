"""The golden numbers' script needs the peer, and has no tests."""

collect_ignore_glob = ["golden/*"]
