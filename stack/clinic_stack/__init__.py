"""The native stack: real servers in a private Debian, supervised by runit. Runs inside the box."""
