"""What the head of a cluster runs beside Ray: PostgreSQL, MLflow's server and the keeper of jobs, under supervisord."""
