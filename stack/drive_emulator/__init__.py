"""A small, strict stand-in for Google Drive: what our client uses of its API v3, over TLS.

It fails closed: a query parameter, a field, a word of ``q`` or a header that it does not know is a
400 in Google's error format, never silently ignored. It was written from Google's documentation
and was never compared with the real Drive.

Source: https://developers.google.com/workspace/drive/api/reference/rest/v3
"""
