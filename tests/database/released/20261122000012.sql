-- Two companies as the first release keeps them: a row or more in each of its tables.
-- Put in at that release and taken along by every later migration. Like a migration, it never changes.
set local search_path = public, jobs;  -- the queue's own triggers need it
do $$
declare
  v_company uuid; v_owner uuid; v_operator uuid; v_bot uuid; v_web uuid; v_telegram uuid;
  v_visitor uuid; v_chat uuid; v_conversation uuid; v_message uuid; v_document uuid;
  v_login uuid; v_slug text;
begin
  foreach v_slug in array array['acme-released', 'rival-released'] loop
    insert into public.companies (name, slug, email, monthly_message_count, current_user_count)
    values (initcap(v_slug), v_slug, 'hola@' || v_slug || '.example', 3, 2) returning id into v_company;
    insert into public.company_keys (company_id, wrapped_key) values (v_company, sha256(v_slug::bytea));
    insert into auth.users (email, encrypted_password)
    values ('owner@' || v_slug || '.example', '!') returning id into v_login;
    insert into public.users (company_id, auth_user_id, email, first_name, last_name, role, is_owner)
    values (v_company, v_login, 'owner@' || v_slug || '.example', 'Olga', 'Owner', 'owner', true)
    returning id into v_owner;
    insert into public.users (company_id, email, first_name, last_name, role, invited_by, invited_at)
    values (v_company, 'operador@' || v_slug || '.example', 'Oscar', 'Operador', 'operador', v_owner, now())
    returning id into v_operator;
    insert into public.chatbots (company_id, name, system_prompt, created_by)
    values (v_company, 'Bot', 'Responde.', v_owner) returning id into v_bot;
    insert into public.chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)
    values (v_company, v_bot, v_operator, v_owner);
    insert into public.channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)
    values (v_company, v_bot, 'web', 'web-' || v_slug, 'Web') returning id into v_web;
    insert into public.channel_accounts
      (company_id, chatbot_id, channel, routing_id, display_name, secret_digest)
    values (v_company, v_bot, 'telegram', 'tg-' || v_slug, '@bot', sha256(v_slug::bytea))
    returning id into v_telegram;
    insert into public.login_sessions (company_id, user_id, token_digest, expires_at)
    values (v_company, v_owner, sha256(('login' || v_slug)::bytea), now() + interval '1 day');
    insert into public.visitor_sessions (company_id, channel_account_id, token_digest, expires_at)
    values (v_company, v_web, sha256(('visitor' || v_slug)::bytea), now() + interval '1 day')
    returning id into v_visitor;
    insert into public.conversations
      (company_id, chatbot_id, channel_account_id, end_user_id, channel, last_seq, message_count)
    values (v_company, v_bot, v_web, v_visitor::text, 'web', 1, 1) returning id into v_chat;
    insert into public.messages (company_id, conversation_id, chatbot_id, channel_account_id, seq,
      sender_type, content, external_message_id)
    values (v_company, v_chat, v_bot, v_web, 1, 'end_user', 'Secreto de ' || v_slug, 'w1');
    insert into public.reply_requests (company_id, conversation_id, wanted_seq, due_at)
    values (v_company, v_chat, 1, now());
    insert into public.conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel,
      status, started_at, created_at, last_message_at, ended_at, last_seq, message_count)
    values (v_company, v_bot, v_telegram, '7', 'telegram', 'resolved', now() - interval '400 days',
      now() - interval '400 days', now() - interval '400 days', now() - interval '399 days', 1, 1);
    insert into public.conversations (company_id, chatbot_id, channel_account_id, end_user_id,
      end_user_name, channel, last_seq, message_count)
    values (v_company, v_bot, v_telegram, '7', 'Siete', 'telegram', 1, 1) returning id into v_conversation;
    insert into public.messages (company_id, conversation_id, chatbot_id, channel_account_id, seq,
      sender_type, content, external_message_id)
    values (v_company, v_conversation, v_bot, v_telegram, 1, 'end_user', '¿Precio?', 't1');
    insert into public.messages (company_id, conversation_id, sender_type, content, tokens_used)
    values (v_company, v_conversation, 'bot', 'Cuesta 10.', 12) returning id into v_message;
    insert into public.hitl_sessions
      (company_id, conversation_id, chatbot_id, status, reason, operator_id, taken_at)
    values (v_company, v_conversation, v_bot, 'active', 'manual', v_operator, now());
    insert into public.inbound_events (company_id, channel_account_id, external_id, payload, reason)
    values (v_company, v_telegram, 'u:1', 'x', 'unsupported');
    insert into public.documents (company_id, chatbot_id, filename, original_filename, file_type,
      file_size_bytes, file_url, content_digest, uploaded_by, processing_status, title, extracted_text,
      character_count, chunk_count)
    values (v_company, v_bot, 'a.txt', 'a.txt', 'txt', 8, 'x', sha256(v_slug::bytea), v_owner,
      'completed', 'Garantía', 'garantía', 8, 1) returning id into v_document;
    insert into public.document_chunks (company_id, document_id, content, chunk_index,
      character_count, embedding, embedding_model)
    values (v_company, v_document, 'garantía', 0, 8,
      array_fill(0.1, array[384])::real[]::extensions.vector, 'multilingual-e5-small');
    insert into public.knowledge_queries (company_id, conversation_id, message_id, query_text)
    values (v_company, v_conversation, v_message, 'precio');
    insert into jobs.procrastinate_jobs (queue_name, task_name, lock, args)
    values ('default', 'process_document', v_company || ':process_document',
      jsonb_build_object('company_id', v_company, 'document_id', v_document));
  end loop;
end $$;
