"""From study file to tables: where everything lies, what is planned, what a result depends on."""
