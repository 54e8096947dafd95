{
    "name": "Clinic Broker",
    "summary": "The way to RabbitMQ that the clinic's addons share",
    "version": "19.0.1.0.0",
    "category": "Services/Clinic",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["base"],
    "external_dependencies": {"python": ["pika"]},
    "installable": True,
}
