"""The feed pushed: one LISTEN connection a database and process wakes every open stream.

Odoo's evented process runs this under gevent, which has made threads, locks and `select`
cooperative; the threaded server (workers=0) runs the same code on real threads. Nothing here
imports gevent.
"""
