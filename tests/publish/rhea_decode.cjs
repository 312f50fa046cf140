// Reads encoded batches, as hex in a JSON array, and prints what an AMQP client that is not the SDK finds in them.
const path = require("path");
const { message } = require(path.join(process.argv[2], "rhea"));

const parts = (body) => (body.multiple ? body.content : [body.content]);
const batches = JSON.parse(require("fs").readFileSync(0));
const found = batches.map((hex) =>
  parts(message.decode(Buffer.from(hex, "hex")).body).map((raw) => {
    const event = message.decode(raw);
    return {
      body: event.body.content.toString("hex"),
      properties: event.application_properties || {},
      annotations: event.message_annotations || {},
      content_type: event.content_type,
      durable: event.durable || false,
    };
  }),
);
console.log(JSON.stringify(found));
