"""Register maps over Modbus RTU, and the frame they share."""
