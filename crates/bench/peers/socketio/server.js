// Socket.IO: `join` follows a topic; POST /pub?id=TOPIC publishes its body.
const http = require("http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  const id = new URL(request.url, "http://server").searchParams.get("id");
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    io.to(id).emit("m", body);
    response.end();
  });
});
const io = new Server(server, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) =>
  socket.on("join", (topic, joined) => {
    socket.join(topic);
    joined();
  }),
);
server.listen(PORT, "127.0.0.1");
