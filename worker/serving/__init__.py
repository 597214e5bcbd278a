"""The process that keeps models warm and answers questions. It knows neither Django nor Redis; worker/relay.py feeds it."""
