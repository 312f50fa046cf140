// Loaded before Azurite, which is told to send no telemetry and would still load the library for it: half of its start.
const Module = require("node:module");

const load = Module._load;
Module._load = function (request, ...more) {
  return request === "applicationinsights" ? {} : load.call(this, request, ...more);
};
