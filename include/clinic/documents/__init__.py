"""Documents: from Odoo, by way of RabbitMQ, into a document store, and back what became of them."""
