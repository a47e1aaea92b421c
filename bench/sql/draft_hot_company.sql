\set n :client_id * :chats_of_writer + random(0, :chats_of_writer - 1)
insert into messages (company_id, conversation_id, sender_type, content, processing_time_ms) values ('00000000-0000-7000-8001-000000000000', ('00000000-0000-7000-8007-' || lpad(to_hex(:n::integer), 12, '0'))::uuid, 'bot', 'Hoy abrimos a las 8:00 y cerramos a las 18:00.', 240);
