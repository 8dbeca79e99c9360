// telegram-test-api on a port of this machine: node telegram.js PORT. It has no sendPhoto, so that is added here: the
// other fields of the message as sendMessage keeps them, and of the photo its size and first bytes.
'use strict';
const TelegramServer = require('telegram-test-api');
const { routes } = require('telegram-test-api/lib/routes');

function fieldsOf(body, boundary) {
  const found = {};
  for (const part of body.toString('latin1').split(`--${boundary}`).slice(1, -1)) {
    const end = part.indexOf('\r\n\r\n');
    const name = /name="([^"]*)"/.exec(part.slice(0, end))[1];
    found[name] = Buffer.from(part.slice(end + 4, -2), 'latin1');
  }
  return found;
}

routes.unshift((app, server) => app.post('/bot:token/sendPhoto', (req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk));
  req.on('end', () => {
    const { photo, ...rest } = fieldsOf(Buffer.concat(chunks), /boundary=(.*)$/.exec(req.headers['content-type'])[1]);
    const message = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, value.toString('utf8')]));
    for (const name of ['reply_parameters', 'caption_entities']) {
      if (name in message) message[name] = JSON.parse(message[name]);
    }
    message.photo = { bytes: photo.length, begins: photo.subarray(0, 8).toString('hex') };
    res.sendResult({ ok: true, result: server.addBotMessage(message, req.params.token) });
  });
}));

// It forgets messages after storeTimeout seconds.
new TelegramServer({ host: '127.0.0.1', port: Number(process.argv[2]), storeTimeout: 3600 }).start();
