"""The inventory's REST API: what other systems and the dashboard ask, and what they are told.

Routes in ``routes/`` are thin: a query by name, a model, an answer. What is decided without a
database (``figures``, ``paging``) imports none. ``app.create_app`` wires it.
"""
