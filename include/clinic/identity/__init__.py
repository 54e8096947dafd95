"""People, groups and what they may do: the realm of Keycloak, as one declared file."""
