//! The microcontroller platform: firmware slots, boot decision, embassy glue.
