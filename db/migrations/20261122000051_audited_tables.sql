-- migrate:up
-- What is audited, column by column: shown, as a personal digest, hidden, left out.
-- (company_id and id are the audit row's own company_id and resource_id.)
set local role neurant_owner;

select private.audit_table('public.companies', 'id',
  '{name,slug,industry,website,logo_url,timezone,subscription_plan,subscription_status,
    subscription_started_at,subscription_ends_at,monthly_message_limit,monthly_reset_date,
    monthly_anchor_day,max_chatbots,max_users,max_integrations,max_document_characters,
    max_storage_mb,max_hitl_concurrent,plan_changed_at,plan_change_scheduled_at,next_plan,created_by}',
  '{email,phone}',
  '{}',
  '{monthly_message_count,current_user_count,current_chatbot_count,current_integration_count,
    current_document_characters,current_storage_bytes,current_hitl_count,created_at,updated_at}');

select private.audit_table('public.users', 'id',
  '{auth_user_id,role,is_owner,permissions,is_active,invited_by,invited_at,
    accepted_invitation_at,created_by}',
  '{email,first_name,last_name,avatar_url,phone}',
  '{}',
  '{last_login_at,last_seen_at,created_at,updated_at}');

select private.audit_table('public.user_invitations', 'id',
  '{role,invited_by,expires_at,status,accepted_at,accepted_by_user_id,sent_at,sent_count}',
  '{email,first_name,last_name}',
  '{token_digest}',
  '{reminder_sent_at,reminder_count,created_at,updated_at}');

select private.audit_table('public.login_sessions', 'user_id',
  '{user_id,expires_at}',
  '{ip_address,user_agent}',
  '{token_digest}',
  '{created_at,last_seen_at}');

select private.audit_table('public.api_keys', 'id',
  '{name,prefix,role,created_by,expires_at,revoked_at}',
  '{}',
  '{key_digest}',
  '{last_used_at,created_at}');

select private.audit_table('public.company_keys', 'company_id',
  '{}', '{}', '{wrapped_key}', '{created_at}');

-- channels follows channel_accounts, which is audited; the counters are of every message.
select private.audit_table('public.chatbots', 'id',
  '{name,description,avatar_url,system_prompt,personality_traits,response_delay_ms,
    max_context_messages,fallback_message,is_active,working_hours,timezone,hitl_enabled,
    hitl_triggers,hitl_trigger_keywords,auto_escalate_after_minutes,retired_at,created_by,template_id}',
  '{}',
  '{channel_configs}',
  '{channels,is_training,training_progress,total_conversations,total_messages,avg_response_time_ms,
    response_time_total_ms,response_time_count,satisfaction_score,created_at,updated_at}');

select private.audit_table('public.chatbot_operators', 'operator_id',
  '{chatbot_id,operator_id,assigned_by,is_active}', '{}', '{}', '{assigned_at}');

select private.audit_table('public.chatbot_supervisors', 'supervisor_id',
  '{chatbot_id,supervisor_id,assigned_by}', '{}', '{}', '{assigned_at}');

select private.audit_table('public.channel_accounts', 'id',
  '{chatbot_id,channel,routing_id,display_name,status,status_detail}',
  '{}',
  '{secret_digest,secrets_encrypted}',
  '{created_at,updated_at}');

select private.audit_table('public.documents', 'id',
  '{chatbot_id,filename,original_filename,file_type,file_size_bytes,file_url,title,
    description,tags,category,language,retired_at,uploaded_by}',
  '{}',
  '{content_digest}',
  '{extracted_text,character_count,chunk_count,unread_pages,processing_status,processing_progress,
    processing_error,query_count,last_used_at,created_at,updated_at}');

select private.audit_table('public.canned_responses', 'owner_id',
  '{owner_id,shortcut,content}', '{}', '{}', '{created_at,updated_at}');

select private.audit_table('public.integrations', 'id',
  '{name,integration_type,description,settings,auth_type,expires_at,is_active,
    last_sync_at,sync_status,created_by}',
  '{}',
  '{config,oauth_token_encrypted,api_key_encrypted}',
  '{last_error,total_requests,successful_requests,failed_requests,created_at,updated_at}');

-- An address that others give us often carries their token.
select private.audit_table('public.webhook_endpoints', 'id',
  '{events,is_active,created_by}',
  '{url}',
  '{secret_encrypted}',
  '{created_at,updated_at}');

-- What people wrote about a customer goes when the conversation is erased.
select private.audit_table('public.hitl_sessions', 'conversation_id',
  '{conversation_id,chatbot_id,status,reason,operator_id,opened_at,taken_at,ended_at,
    ended_by}',
  '{reason_detail,resolution_notes}',
  '{}',
  '{first_response_at}');

select private.audit_table('public.hitl_transfers', 'conversation_id',
  '{session_id,conversation_id,chatbot_id,from_user_id,to_user_id,kind,status,
    expires_at,decided_at}',
  '{reason}',
  '{}',
  '{created_at}');

reset role;
-- migrate:down
