//! MQTT 5 transport: rumqttc on std, minimq on no_std.
