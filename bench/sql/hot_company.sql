\set n :client_id * :chats_of_writer + random(0, :chats_of_writer - 1)
insert into messages (company_id, conversation_id, sender_type, content, processing_time_ms) values (bench.id(1, 0), bench.id(7, :n), 'bot', 'Hoy abrimos a las 8:00 y cerramos a las 18:00.', 240);
